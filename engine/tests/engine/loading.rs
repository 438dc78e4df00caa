//! Models that are broken or hostile are refused with a reason, and never with a panic.

use engine::{Device, Dtype, Engine, LoadError, ModelSource, Options};
use serde_json::{Value, json};

use crate::tiny::{DRAFTING, FILES, engine, options, with_file};

fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(file, _)| *file == name).unwrap().1
}

fn refusal(source: &ModelSource) -> String {
    match Engine::load(source, &options()) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => error.to_string(),
    }
}

fn with_config(field: &str, value: Value) -> ModelSource {
    with_fields(json!({field: value}))
}

fn with_fields(changes: Value) -> ModelSource {
    let mut config: Value = serde_json::from_slice(file("config.json")).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    with_file("config.json", config.to_string().into_bytes())
}

/// A safetensors file from a header and its data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

#[test]
fn a_model_says_what_it_is_and_where_it_runs() {
    let engine = engine(&options());
    let model = engine.model();
    assert_eq!((model.architecture.as_str(), model.vocab_size, model.context_length), ("deepseek_v3", 288, 512));
    assert_eq!((model.device, model.dtype), ("cpu", "bf16"));
    assert_eq!(model.parameters, 41_640 + 16); // the router biases are no parameters to torch
    assert!(model.bytes_per_token > 1.0 && model.bytes_per_token < 2.0);
    assert!(model.device_reason.contains("CUDA"), "{}", model.device_reason);
}

#[test]
fn an_engine_can_be_handed_to_the_thread_that_owns_it() {
    let mut engine = engine(&options());
    let thread = std::thread::spawn(move || crate::tiny::run(&mut engine, crate::tiny::random(1, vec![1], 3)));
    assert_eq!(thread.join().unwrap().usage.completion, 3);
}

#[test]
fn a_cache_takes_no_more_than_the_memory_that_is_free() {
    // Pages so large that their books stay small.
    let options = Options { cache_tokens: usize::MAX, page_tokens: 1 << 20, ..options() };
    assert!(Engine::load(&ModelSource::Embedded(FILES), &options).is_ok());
}

#[test]
fn a_device_without_kernels_is_refused() {
    let options = Options { device: Device::Cuda, ..options() };
    assert!(matches!(Engine::load(&ModelSource::Embedded(FILES), &options), Err(LoadError::Option { name: "device", .. })));
}

#[test]
fn every_format_computes_and_says_its_name() {
    for (dtype, name) in [(Dtype::Auto, "bf16"), (Dtype::F32, "f32"), (Dtype::Bf16, "bf16"), (Dtype::Int8, "int8")] {
        let mut engine = engine(&Options { dtype, ..options() });
        assert_eq!(engine.model().dtype, name);
        assert_eq!(crate::tiny::run(&mut engine, crate::tiny::random(1, vec![1], 3)).usage.completion, 3);
    }
}

#[test]
fn values_that_are_not_understood_are_named() {
    let cases = [
        ("model_type", json!("deepseek_v9")),
        ("hidden_act", json!("gelu")),
        ("scoring_func", json!("softmax")),
        ("topk_method", json!("greedy")),
        ("attention_bias", json!(true)),
        ("num_key_value_heads", json!(1)),
        ("qk_rope_head_dim", json!(7)),
        ("moe_layer_freq", json!(2)),
        ("n_group", json!(3)),
        ("topk_group", json!(9)),
        ("num_experts_per_tok", json!(7)),
        ("hidden_size", json!(-1)),
        ("vocab_size", json!(9_007_199_254_740_993u64)),
        ("rms_norm_eps", json!("tiny")),
        ("eos_token_id", json!(["x"])),
    ];
    for (field, value) in cases {
        let message = refusal(&with_config(field, value.clone()));
        assert!(message.contains(field), "{field} = {value}: {message}");
    }
}

#[test]
fn rope_that_is_not_understood_is_named() {
    let cases = [
        (json!({"rope_type": "longrope"}), "rope_type = \"longrope\""),
        (json!({"type": "dynamic", "factor": 2.0}), "type = \"dynamic\""),
        (json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "partial_rotary_factor = 0.5"),
        (json!({"rope_type": "default", "rope_theta": 1.0}), "rope_theta = 1.0"),
        (json!({"rope_type": "yarn", "factor": -4.0}), "factor = -4.0"),
        (json!({"rope_type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 4.0}), "high_freq_factor = 4.0"),
    ];
    for (rope, named) in cases {
        let message = refusal(&with_config("rope_parameters", rope));
        assert!(message.contains(named), "{named}: {message}");
    }
}

#[test]
fn quantisation_that_is_not_understood_is_named() {
    let cases = [
        ("quant_method", json!("gptq")),
        ("fmt", json!("e5m2")),
        ("activation_scheme", json!("static")),
        ("weight_block_size", json!([128])),
        ("weight_block_size", json!([0, 128])),
        ("weight_block_size", json!(null)),
    ];
    for (field, value) in cases {
        let mut config = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
        config[field] = value.clone();
        let message = refusal(&with_config("quantization_config", config));
        assert!(message.contains(&format!("{field} = ")), "{field} = {value}: {message}");
    }
}

#[test]
fn what_a_family_does_not_have_is_named() {
    let cases = [
        ("llama", "mlp_bias", json!(true)),
        ("llama", "num_key_value_heads", json!(2)),
        ("llama", "head_dim", json!(7)),
        ("llama", "layer_types", json!(["full_attention", "sliding_attention"])),
        ("mixtral", "sliding_window", json!(64)),
        ("mixtral", "num_experts_per_tok", json!(9)),
        ("qwen3", "sliding_window", json!(64)),
        ("olmoe", "clip_qkv", json!(0)),
        ("qwen3_moe", "decoder_sparse_step", json!(0)),
        ("qwen3_moe", "mlp_only_layers", json!(["first"])),
        ("deepseek_v2", "topk_method", json!("noaux_tc")),
        ("deepseek_v2", "norm_topk_prob", json!(true)),
    ];
    for (family, field, value) in cases {
        let mut fields = json!({"model_type": family, "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": false});
        fields[field] = value.clone();
        let message = refusal(&with_fields(fields));
        assert!(message.contains(&format!("{field} = {value}")), "{family}: {message}");
    }
}

#[test]
fn a_window_that_never_closes_is_none() {
    for window in
        [json!({"sliding_window": null}), json!({"sliding_window": 512}), json!({"sliding_window": 8, "use_sliding_window": false})]
    {
        let mut fields = window.clone();
        fields["model_type"] = json!("qwen3");
        let message = refusal(&with_fields(fields));
        assert!(message.starts_with("tensor "), "{window}: {message}");
    }
}

#[test]
fn sizes_that_are_left_out_are_named() {
    for field in ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "n_routed_experts", "max_position_embeddings"] {
        let message = refusal(&with_config(field, Value::Null));
        assert!(message.contains(&format!("{field} = (absent)")), "{message}");
    }
}

#[test]
fn every_spelling_of_the_number_of_experts_is_read() {
    for spelling in ["n_routed_experts", "num_local_experts", "num_experts"] {
        let message = refusal(&with_fields(json!({"n_routed_experts": null, spelling: 16})));
        assert!(message.contains("[16, 24]"), "{spelling}: {message}");
    }
}

#[test]
fn both_spellings_of_rope_are_read_alike() {
    let old = json!({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 1.0,
        "mscale": 0.707, "mscale_all_dim": 0.5});
    let mut config: Value = serde_json::from_slice(file("config.json")).unwrap();
    config["rope_parameters"] = Value::Null;
    config["rope_scaling"] = old;
    config["rope_theta"] = json!(10000.0);
    let mut other = Engine::load(&with_file("config.json", config.to_string().into_bytes()), &options()).unwrap();
    let prompt = crate::tiny::greedy(engine::Prompt::Tokens((0..40).collect()), 8);
    let ours = crate::tiny::run(&mut engine(&options()), prompt.clone());
    assert_eq!(crate::tiny::run(&mut other, prompt).token_ids, ours.token_ids);
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    let message = refusal(&with_config("hidden_size", json!(25)));
    assert!(message.contains("model.embed_tokens.weight") && message.contains("[288, 24]"), "{message}");
    let message = refusal(&with_config("num_hidden_layers", json!(4)));
    assert!(message.contains("model.layers.3.") && message.contains("missing"), "{message}");
}

#[test]
fn a_layer_for_drafts_may_be_missing_but_not_broken() {
    let replaced = |name: &str, old: &str, new: &str| {
        let files = DRAFTING.iter().map(|(file, bytes)| {
            let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).filter(|_| *file == name);
            let bytes = at.map_or(bytes.to_vec(), |at| [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat());
            (*file, &*bytes.leak())
        });
        ModelSource::Embedded(Vec::leak(files.collect()))
    };
    let announced = "\"num_nextn_predict_layers\": 1";
    let unused = [
        with_config("num_nextn_predict_layers", json!(1)),
        replaced("config.json", announced, &announced.replace('1', "0")),
        replaced("model.safetensors", "model.layers.3.eh_proj.weight", "model.layers.3.xh_proj.weight"),
    ];
    for source in unused {
        let mut engine = Engine::load(&source, &options()).unwrap();
        assert_eq!(crate::tiny::run(&mut engine, crate::tiny::random(1, vec![1], 9)).usage.completion, 9);
        assert_eq!(engine.drafts().proposed, 0);
    }
    let broken = replaced("model.safetensors", "model.layers.3.hnorm.weight", "model.layers.3.xnorm.weight");
    assert_eq!(refusal(&broken), "tensor model.layers.3.hnorm.weight: missing");
    assert!(Engine::load(&broken, &Options { draft_slots_max: 0, ..options() }).is_ok());
}

#[test]
fn hostile_weight_headers_are_refused() {
    let tensor = |shape: &str, offsets: &str| format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let headers = [
        (u64::MAX.to_le_bytes().to_vec(), "a length beyond the file"),
        (Vec::new(), "no header at all"),
        (safetensors("{", &[]), "no JSON"),
        (safetensors(&tensor("[1]", "[0,8]"), &[0; 8]), "offsets that are not the shape"),
        (safetensors(&tensor("[2]", "[0,8]"), &[0; 4]), "offsets beyond the file"),
        (safetensors(&tensor("[4294967296,4294967296,4]", "[0,8]"), &[0; 8]), "a shape that overflows"),
        (safetensors(&tensor("[2]", "[8,0]"), &[0; 8]), "offsets that run backwards"),
    ];
    for (bytes, what) in headers {
        let message = refusal(&with_file("model.safetensors", bytes));
        assert!(message.starts_with("model.safetensors is malformed"), "{what}: {message}");
    }
}

#[test]
fn an_index_may_only_name_files_beside_it() {
    for shard in ["../model.safetensors", "/etc/passwd", "", ".."] {
        let index = json!({"weight_map": {"model.norm.weight": shard}}).to_string();
        let message = refusal(&with_file("model.safetensors.index.json", index.into_bytes()));
        assert!(message.contains("not a plain file name"), "{shard}: {message}");
    }
}

#[test]
fn missing_files_are_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let files: Vec<_> = FILES.iter().copied().filter(|(file, _)| *file != name).collect();
        assert_eq!(refusal(&ModelSource::Embedded(Vec::leak(files))), format!("the model has no {name}"));
    }
    let nowhere = ModelSource::Directory("no/such/directory".into());
    assert_eq!(refusal(&nowhere), "the model has no config.json");
}

#[test]
fn a_vocabulary_in_the_form_of_tiktoken_does_as_well() {
    let vocabulary = include_bytes!("../fixtures/tokenizer/tiktoken.model").as_slice();
    let files =
        FILES.iter().copied().map(|(name, bytes)| if name == "tokenizer.json" { ("tiktoken.model", vocabulary) } else { (name, bytes) });
    let source = ModelSource::Embedded(Vec::leak(files.collect()));
    let prompt = || crate::tiny::greedy(crate::tiny::user("the date of the invoice"), 8);
    let theirs = crate::tiny::run(&mut Engine::load(&source, &options()).unwrap(), prompt());
    let ours = crate::tiny::run(&mut engine(&options()), prompt());
    assert_eq!((theirs.prompt_token_ids, theirs.text), (ours.prompt_token_ids, ours.text));
}

#[test]
fn damaged_files_never_panic() {
    let mut state = 1u64;
    let mut random = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        for _ in 0..60 {
            let mut bytes = file(name).to_vec();
            // The header is where damage hurts; the numbers behind it may be anything.
            let end = bytes.len().min(6000);
            for _ in 0..1 + random(4) {
                let place = random(end);
                match random(3) {
                    0 => bytes[place] = random(256) as u8,
                    1 => bytes[place] = b"0123456789-{}[]\",:"[random(18)],
                    _ => bytes.truncate(bytes.len() - random(end).min(bytes.len() - end)),
                }
            }
            if let Ok(mut engine) = Engine::load(&with_file(name, bytes), &options()) {
                let _ = engine.add(1, crate::tiny::greedy(crate::tiny::user("hello"), 3));
                engine.step();
            }
        }
    }
}
