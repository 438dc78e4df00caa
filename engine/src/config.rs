//! `config.json` and `generation_config.json`, read once into the facts the model needs. What is not understood is refused.

mod fields;

use serde_json::Value;

use crate::error::LoadError;
use fields::Fields;

/// The shape and arithmetic of one model.
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    pub(crate) architecture: &'static str,
    pub(crate) vocab_size: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    /// Layers before this one have a dense feed-forward part, the others a mixture of experts.
    pub(crate) dense_layers: usize,
    pub(crate) dense_intermediate: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) tied_embeddings: bool,
    pub(crate) context_length: usize,
    pub(crate) attention: MlaConfig,
    pub(crate) experts: MoeConfig,
    pub(crate) rope: RopeConfig,
    pub(crate) eos_token_ids: Vec<u32>,
    pub(crate) mtp_layers: usize,
}

/// Multi-head latent attention.
#[derive(Debug, Clone)]
pub(crate) struct MlaConfig {
    pub(crate) heads: usize,
    pub(crate) query_rank: Option<usize>,
    pub(crate) latent: usize,
    pub(crate) nope: usize,
    pub(crate) rope: usize,
    pub(crate) value: usize,
    /// The checkpoint stores rotary pairs side by side instead of in two halves.
    pub(crate) interleaved: bool,
    pub(crate) latent_norm_epsilon: f32,
}

/// A router with sigmoid scores, a selection bias and groups, and the experts it chooses from.
#[derive(Debug, Clone)]
pub(crate) struct MoeConfig {
    pub(crate) experts: usize,
    pub(crate) per_token: usize,
    pub(crate) shared: usize,
    pub(crate) intermediate: usize,
    pub(crate) groups: usize,
    pub(crate) groups_kept: usize,
    pub(crate) normalise: bool,
    pub(crate) scale: f32,
}

#[derive(Debug, Clone)]
pub(crate) struct RopeConfig {
    pub(crate) theta: f64,
    pub(crate) yarn: Option<Yarn>,
}

/// Context extension after the YaRN paper, with DeepSeek's two magnitude scales.
#[derive(Debug, Clone)]
pub(crate) struct Yarn {
    pub(crate) factor: f64,
    pub(crate) original_context: f64,
    pub(crate) beta_fast: f64,
    pub(crate) beta_slow: f64,
    pub(crate) mscale: Option<f64>,
    pub(crate) mscale_all_dim: Option<f64>,
    pub(crate) attention_factor: Option<f64>,
    pub(crate) truncate: bool,
}

impl ModelConfig {
    /// Reads `config.json`; a missing field has the default of its model type.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ModelConfig, LoadError> {
        let root = Fields::parse("config.json", bytes)?;
        root.expect("model_type", None, &["deepseek_v3"])?;
        root.expect("hidden_act", Some("silu"), &["silu"])?;
        root.expect("topk_method", Some("noaux_tc"), &["noaux_tc"])?;
        root.expect("scoring_func", Some("sigmoid"), &["sigmoid"])?;
        root.refuse("quantization_config", "weights stored as f32, bf16 or f16")?;
        root.refuse_flag("attention_bias")?;
        let config = ModelConfig {
            architecture: "deepseek_v3",
            vocab_size: root.size("vocab_size", 129_280)?,
            hidden: root.size("hidden_size", 7168)?,
            layers: root.size("num_hidden_layers", 61)?,
            dense_layers: root.count("first_k_dense_replace", 3)?,
            dense_intermediate: root.size("intermediate_size", 18_432)?,
            norm_epsilon: root.float("rms_norm_eps", 1e-6)? as f32,
            tied_embeddings: root.flag("tie_word_embeddings", false)?,
            context_length: root.size("max_position_embeddings", 4096)?,
            attention: mla(&root)?,
            experts: moe(&root)?,
            rope: rope(&root)?,
            eos_token_ids: root.tokens("eos_token_id")?.unwrap_or_else(|| vec![1]),
            mtp_layers: root.count_of(&["num_nextn_predict_layers", "num_mtp_layers"], 0)?,
        };
        Ok(config)
    }
}

fn mla(root: &Fields) -> Result<MlaConfig, LoadError> {
    let heads = root.size("num_attention_heads", 128)?;
    let key_value_heads = root.size("num_key_value_heads", heads)?;
    root.check("num_key_value_heads", key_value_heads == heads, "as many as num_attention_heads")?;
    let rope = root.size("qk_rope_head_dim", 64)?;
    root.check("qk_rope_head_dim", rope.is_multiple_of(2), "an even number")?;
    Ok(MlaConfig {
        heads,
        query_rank: root.size_or_null("q_lora_rank", Some(1536))?,
        latent: root.size("kv_lora_rank", 512)?,
        nope: root.size("qk_nope_head_dim", 128)?,
        rope,
        value: root.size("v_head_dim", 128)?,
        interleaved: root.flag("rope_interleave", true)?,
        // transformers and DeepSeek's own code ignore rms_norm_eps for the two inner norms.
        latent_norm_epsilon: 1e-6,
    })
}

fn moe(root: &Fields) -> Result<MoeConfig, LoadError> {
    let every_layer = root.count("moe_layer_freq", 1)?;
    root.check("moe_layer_freq", every_layer == 1, "1")?;
    let experts = root.count_of(&["n_routed_experts", "num_local_experts", "num_experts"], 256)?;
    root.check("n_routed_experts", experts >= 1, "at least one")?;
    let groups = root.size("n_group", 8)?;
    let group_size = experts / groups;
    let divides = experts.is_multiple_of(groups) && (groups == 1 || group_size >= 2);
    root.check("n_group", divides, "a divisor of n_routed_experts with two experts or more in a group")?;
    let groups_kept = root.size("topk_group", 4)?;
    root.check("topk_group", groups_kept <= groups, "at most n_group")?;
    let per_token = root.size("num_experts_per_tok", 8)?;
    root.check("num_experts_per_tok", per_token <= groups_kept * group_size, "at most the experts of the kept groups")?;
    Ok(MoeConfig {
        experts,
        per_token,
        shared: root.count("n_shared_experts", 1)?,
        intermediate: root.size("moe_intermediate_size", 2048)?,
        groups,
        groups_kept,
        normalise: root.flag("norm_topk_prob", true)?,
        scale: root.float("routed_scaling_factor", 2.5)? as f32,
    })
}

/// Both spellings: `rope_parameters` of transformers 5, or `rope_scaling` with `rope_theta` beside it.
fn rope(root: &Fields) -> Result<RopeConfig, LoadError> {
    let theta = root.float("rope_theta", 10_000.0)?;
    let Some(rope) = root.object("rope_parameters")?.or(root.object("rope_scaling")?) else {
        return Ok(RopeConfig { theta, yarn: None });
    };
    let theta = rope.float("rope_theta", theta)?;
    rope.check("rope_theta", theta > 1.0, "a number above 1")?;
    let kind = if rope.has("rope_type") { "rope_type" } else { "type" };
    if rope.expect(kind, Some("default"), &["default", "yarn"])? == "default" {
        return Ok(RopeConfig { theta, yarn: None });
    }
    let context = root.size("max_position_embeddings", 4096)?;
    let original = rope.size("original_max_position_embeddings", context)?;
    let factor = rope.float("factor", context as f64 / original as f64)?;
    rope.check("factor", factor > 0.0, "a positive number")?;
    Ok(RopeConfig {
        theta,
        yarn: Some(Yarn {
            factor,
            original_context: original as f64,
            beta_fast: rope.positive("beta_fast", 32.0)?,
            beta_slow: rope.positive("beta_slow", 1.0)?,
            mscale: rope.optional_float("mscale")?,
            mscale_all_dim: rope.optional_float("mscale_all_dim")?,
            attention_factor: rope.optional_float("attention_factor")?,
            truncate: rope.flag("truncate", true)?,
        }),
    })
}

/// What `generation_config.json` says about drawing tokens; all of it may be absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct GenerationConfig {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<u32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) eos_token_ids: Vec<u32>,
}

impl GenerationConfig {
    pub(crate) fn parse(bytes: &[u8]) -> Result<GenerationConfig, LoadError> {
        let root = Fields::parse("generation_config.json", bytes)?;
        let narrow = |value: Option<f64>| value.map(|value| value as f32);
        // transformers writes a temperature beside `do_sample: false`, and means greedy.
        let greedy = root.value("do_sample") == Some(&Value::Bool(false));
        Ok(GenerationConfig {
            temperature: if greedy { Some(0.0) } else { narrow(root.optional_float("temperature")?) },
            top_p: narrow(root.optional_float("top_p")?),
            top_k: root.size_or_null("top_k", None)?.map(|k| k as u32),
            min_p: narrow(root.optional_float("min_p")?),
            eos_token_ids: root.tokens("eos_token_id")?.unwrap_or_default(),
        })
    }
}
