//! Tokens per second by batch size: `cargo bench -p engine [-- MODEL_DIRECTORY]`. Without a directory it takes random
//! weights in the shape of millrace-nano. A hash of the tokens stands beside each figure: a change that makes the engine
//! faster must leave it alone. On a machine that is busy with other things, tokens per second of CPU time tell more than
//! those of wall time, so both are shown.

use std::fmt::{self, Display, Formatter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Instant;

use engine::{Engine, Finished, ModelSource, Options, Prompt, Request, Sampling};
use safetensors::{Dtype, View};
use serde_json::json;

const PROMPT_TOKENS: usize = 256;
const ANSWER_TOKENS: u32 = 64;
const BATCHES: [u64; 3] = [1, 8, 64];

fn main() {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let source = directory.map_or_else(nano, |path| ModelSource::Directory(PathBuf::from(path)));
    println!("threads  batch  prefill tok/s (per CPU s)  decode tok/s (per CPU s)  tokens");
    for threads in [1, 2] {
        for batch in BATCHES {
            let options = Options { threads, cache_tokens: 64 * 512, ..Options::default() };
            let mut engine = Engine::load(&source, &options).expect("the model loads");
            let (prefill, decode, hash) = measure(&mut engine, batch);
            println!("{threads:>7}  {batch:>5}  {prefill}  {decode}  {hash:016x}");
        }
    }
}

/// Prefill ends with the step that computes the last of the prompts; what follows is decode.
fn measure(engine: &mut Engine, batch: u64) -> (Rate, Rate, u64) {
    let vocabulary = engine.model().vocab_size;
    for id in 0..batch {
        let prompt = (0..PROMPT_TOKENS).map(|index| ((index * 31 + id as usize * 17 + 7) % vocabulary) as u32);
        let request = Request {
            max_tokens: Some(ANSWER_TOKENS),
            ignore_eos: true,
            sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
            ..Request::new(Prompt::Tokens(prompt.collect()))
        };
        engine.add(id, request).expect("the request is admitted");
    }
    let prompt_tokens = batch as usize * PROMPT_TOKENS;
    let prefill_steps = prompt_tokens.div_ceil(Options::default().step_tokens_max);
    let mut finished: Vec<Finished> = Vec::new();
    let prefill = rate(prompt_tokens, || (0..prefill_steps).for_each(|_| finished.extend(engine.step())));
    let decode = rate(batch as usize * ANSWER_TOKENS as usize, || {
        while !engine.is_idle() {
            finished.extend(engine.step());
        }
    });
    finished.sort_by_key(|finished| finished.id);
    let mut hash = DefaultHasher::new();
    for answer in &finished {
        answer.outcome.as_ref().expect("it is answered").token_ids.hash(&mut hash);
    }
    (prefill, decode, hash.finish())
}

/// Tokens per second of wall time and of CPU time.
struct Rate {
    wall: f64,
    cpu: f64,
}

impl Display for Rate {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        write!(formatter, "{:>13.0} {:>11.0}", self.wall, self.cpu)
    }
}

fn rate(tokens: usize, work: impl FnOnce()) -> Rate {
    let (start, cpu_start) = (Instant::now(), cpu_seconds());
    work();
    Rate { wall: tokens as f64 / start.elapsed().as_secs_f64(), cpu: tokens as f64 / (cpu_seconds() - cpu_start) }
}

/// CPU time of all threads, in hundredths of a second; Linux only, elsewhere the column means nothing.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Random weights in nano's shape.
fn nano() -> ModelSource {
    let config = json!({
        "model_type": "deepseek_v3", "vocab_size": 1536, "hidden_size": 192, "intermediate_size": 512, "moe_intermediate_size": 128,
        "num_hidden_layers": 6, "num_attention_heads": 6, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1,
        "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "q_lora_rank": 96, "kv_lora_rank": 96, "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16, "v_head_dim": 32, "max_position_embeddings": 4096,
    });
    let mut tensors = vec![
        tensor("model.embed_tokens.weight", &[1536, 192]),
        tensor("lm_head.weight", &[1536, 192]),
        tensor("model.norm.weight", &[192]),
    ];
    for layer in 0..6 {
        let mut add = |name: &str, shape: &[usize]| tensors.push(tensor(&format!("model.layers.{layer}.{name}.weight"), shape));
        add("input_layernorm", &[192]);
        add("post_attention_layernorm", &[192]);
        add("self_attn.q_a_proj", &[96, 192]);
        add("self_attn.q_a_layernorm", &[96]);
        add("self_attn.q_b_proj", &[6 * 48, 96]);
        add("self_attn.kv_a_proj_with_mqa", &[96 + 16, 192]);
        add("self_attn.kv_a_layernorm", &[96]);
        add("self_attn.kv_b_proj", &[6 * 64, 96]);
        add("self_attn.o_proj", &[192, 6 * 32]);
        let mut mlp = |name: &str, width: usize| {
            add(&format!("mlp.{name}gate_proj"), &[width, 192]);
            add(&format!("mlp.{name}up_proj"), &[width, 192]);
            add(&format!("mlp.{name}down_proj"), &[192, width]);
        };
        if layer == 0 {
            mlp("", 512);
            continue;
        }
        (0..8).for_each(|expert| mlp(&format!("experts.{expert}."), 128));
        mlp("shared_experts.", 128);
        add("mlp.gate", &[8, 192]);
        tensors.push(tensor(&format!("model.layers.{layer}.mlp.gate.e_score_correction_bias"), &[8]));
    }
    let weights = safetensors::serialize(tensors, None).expect("the tensors are well formed");
    let files: Vec<(&str, &[u8])> = vec![
        ("config.json", config.to_string().into_bytes().leak()),
        ("model.safetensors", weights.leak()),
        ("tokenizer.json", include_bytes!("../tests/fixtures/tokenizer/tokenizer.json")),
    ];
    ModelSource::Embedded(files.leak())
}

/// A tensor of numbers around zero (norms: around one) that depend on its name alone.
fn tensor(name: &str, shape: &[usize]) -> (String, Random) {
    let mut state = name.bytes().fold(1u64, |state, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let center = if name.contains("norm") { 1.0 } else { 0.0 };
    let scale = 3.0 / (*shape.last().expect("it has a shape") as f32).sqrt();
    let numbers = (0..shape.iter().product()).flat_map(|_: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        (center + number * scale).to_le_bytes()
    });
    (name.to_owned(), Random { shape: shape.to_vec(), data: numbers.collect() })
}

struct Random {
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Random {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.data.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
