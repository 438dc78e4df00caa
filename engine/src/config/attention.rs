//! The attention part of a configuration: latent in the DeepSeek family, grouped queries in all others.

use crate::config::fields::Fields;
use crate::error::LoadError;

/// How a layer looks back.
#[derive(Debug, Clone)]
pub(crate) enum AttentionConfig {
    Mla(MlaConfig),
    Gqa(GqaConfig),
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

/// Attention in which some query heads share each key and value head.
#[derive(Debug, Clone)]
pub(crate) struct GqaConfig {
    pub(crate) heads: usize,
    pub(crate) groups: usize,
    pub(crate) head: usize,
    /// Queries, keys and values have a bias.
    pub(crate) bias: bool,
    pub(crate) output_bias: bool,
    pub(crate) norm: QueryKeyNorm,
    /// Queries, keys and values are cut off at plus and minus this.
    pub(crate) clip: Option<f32>,
}

/// What is normalised in queries and keys before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum QueryKeyNorm {
    None,
    EachHead,
    AllHeads,
}

impl AttentionConfig {
    /// Numbers that one layer caches for a token.
    pub(crate) fn cached(&self) -> usize {
        match self {
            AttentionConfig::Mla(mla) => mla.latent + mla.rope,
            AttentionConfig::Gqa(gqa) => 2 * gqa.groups * gqa.head,
        }
    }

    /// Channels of a head that are rotated by position.
    pub(crate) fn rotated(&self) -> usize {
        match self {
            AttentionConfig::Mla(mla) => mla.rope,
            AttentionConfig::Gqa(gqa) => gqa.head,
        }
    }
}

/// Both DeepSeek families.
pub(super) fn mla(root: &Fields) -> Result<AttentionConfig, LoadError> {
    root.refuse_flag("attention_bias")?;
    let heads = root.required("num_attention_heads")?;
    let groups = root.size("num_key_value_heads", heads)?;
    root.check("num_key_value_heads", groups == heads, "as many as num_attention_heads")?;
    let rope = root.size("qk_rope_head_dim", 64)?;
    root.check("qk_rope_head_dim", rope.is_multiple_of(2), "an even number")?;
    Ok(AttentionConfig::Mla(MlaConfig {
        heads,
        query_rank: root.size_or_null("q_lora_rank", Some(1536))?,
        latent: root.size("kv_lora_rank", 512)?,
        nope: root.size("qk_nope_head_dim", 128)?,
        rope,
        value: root.size("v_head_dim", 128)?,
        interleaved: root.flag("rope_interleave", true)?,
        // transformers and DeepSeek's own code ignore rms_norm_eps for the two inner norms.
        latent_norm_epsilon: 1e-6,
    }))
}

/// `llama` and `mixtral`.
pub(super) fn llama(root: &Fields) -> Result<AttentionConfig, LoadError> {
    Ok(AttentionConfig::Gqa(gqa(root)?))
}

pub(super) fn qwen2(root: &Fields) -> Result<AttentionConfig, LoadError> {
    Ok(AttentionConfig::Gqa(GqaConfig { bias: true, output_bias: false, ..gqa(root)? }))
}

/// `qwen3` and `qwen3_moe`.
pub(super) fn qwen3(root: &Fields) -> Result<AttentionConfig, LoadError> {
    Ok(AttentionConfig::Gqa(GqaConfig { norm: QueryKeyNorm::EachHead, ..gqa(root)? }))
}

pub(super) fn olmoe(root: &Fields) -> Result<AttentionConfig, LoadError> {
    let clip = root.optional_float("clip_qkv")?.map(|clip| clip as f32);
    root.check("clip_qkv", clip.is_none_or(|clip| clip > 0.0), "a positive number")?;
    Ok(AttentionConfig::Gqa(GqaConfig { norm: QueryKeyNorm::AllHeads, clip, ..gqa(root)? }))
}

fn gqa(root: &Fields) -> Result<GqaConfig, LoadError> {
    refuse_windows(root)?;
    let (hidden, heads) = (root.required("hidden_size")?, root.required("num_attention_heads")?);
    let groups = root.size("num_key_value_heads", heads)?;
    root.check("num_key_value_heads", heads.is_multiple_of(groups), "a divisor of num_attention_heads")?;
    let whole = root.has("head_dim") || hidden.is_multiple_of(heads);
    root.check("num_attention_heads", whole, "a divisor of hidden_size, as there is no head_dim")?;
    let head = root.size("head_dim", (hidden / heads).max(1))?;
    root.check("head_dim", head.is_multiple_of(2), "an even number")?;
    let bias = root.flag("attention_bias", false)?;
    Ok(GqaConfig { heads, groups, head, bias, output_bias: bias, norm: QueryKeyNorm::None, clip: None })
}

/// A window that is switched off, or longer than the context, is none.
fn refuse_windows(root: &Fields) -> Result<(), LoadError> {
    let context = root.required("max_position_embeddings")?;
    let used = root.flag("use_sliding_window", true)?;
    let window = root.size_or_null("sliding_window", None)?;
    root.check("sliding_window", !used || window.is_none_or(|window| window >= context), "null, or at least the context length")?;
    let full = |kinds: &serde_json::Value| kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "full_attention"));
    root.check("layer_types", root.value("layer_types").is_none_or(full), "full_attention in every layer")
}
