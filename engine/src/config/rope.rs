//! The rotary part of a configuration, in both spellings: `rope_parameters` of transformers 5, or `rope_scaling` with
//! `rope_theta` beside it. The tables are made in `model/rope.rs`.

use crate::config::fields::Fields;
use crate::error::LoadError;

/// How positions turn into angles.
#[derive(Debug, Clone)]
pub(crate) struct RopeConfig {
    pub(crate) theta: f64,
    pub(crate) stretch: Stretch,
}

/// What lets a model see further than it was first trained to.
#[derive(Debug, Clone)]
pub(crate) enum Stretch {
    None,
    Yarn(Yarn),
    Llama3(Llama3),
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

/// Context extension of Llama 3.1: long waves are stretched, short ones are not, and those between by degrees.
#[derive(Debug, Clone)]
pub(crate) struct Llama3 {
    pub(crate) factor: f64,
    pub(crate) original_context: f64,
    /// Waves that fit into the original context fewer times than this are stretched fully.
    pub(crate) low_frequency: f64,
    /// Waves that fit more times than this are left alone.
    pub(crate) high_frequency: f64,
}

pub(super) fn parse(root: &Fields, context: usize, theta: f64) -> Result<RopeConfig, LoadError> {
    let theta = root.float("rope_theta", theta)?;
    let whole = |fields: &Fields| fields.check("partial_rotary_factor", fields.float("partial_rotary_factor", 1.0)? == 1.0, "1.0");
    whole(root)?;
    let Some(rope) = root.object("rope_parameters")?.or(root.object("rope_scaling")?) else {
        root.check("rope_theta", theta > 1.0, "a number above 1")?;
        return Ok(RopeConfig { theta, stretch: Stretch::None });
    };
    whole(&rope)?;
    let theta = rope.float("rope_theta", theta)?;
    rope.check("rope_theta", theta > 1.0, "a number above 1")?;
    let kind = if rope.has("rope_type") { "rope_type" } else { "type" };
    let stretch = match rope.expect(kind, Some("default"), &["default", "yarn", "llama3"])? {
        "yarn" => Stretch::Yarn(yarn(&rope, context)?),
        "llama3" => Stretch::Llama3(llama3(&rope, context)?),
        _ => Stretch::None,
    };
    Ok(RopeConfig { theta, stretch })
}

fn yarn(rope: &Fields, context: usize) -> Result<Yarn, LoadError> {
    let original = rope.size("original_max_position_embeddings", context)?;
    Ok(Yarn {
        factor: rope.positive("factor", context as f64 / original as f64)?,
        original_context: original as f64,
        beta_fast: rope.positive("beta_fast", 32.0)?,
        beta_slow: rope.positive("beta_slow", 1.0)?,
        mscale: rope.optional_float("mscale")?,
        mscale_all_dim: rope.optional_float("mscale_all_dim")?,
        attention_factor: rope.optional_float("attention_factor")?,
        truncate: rope.flag("truncate", true)?,
    })
}

fn llama3(rope: &Fields, context: usize) -> Result<Llama3, LoadError> {
    let low_frequency = rope.positive("low_freq_factor", 1.0)?;
    let high_frequency = rope.positive("high_freq_factor", 4.0)?;
    rope.check("high_freq_factor", high_frequency > low_frequency, "more than low_freq_factor")?;
    Ok(Llama3 {
        factor: rope.positive("factor", 8.0)?,
        original_context: rope.size("original_max_position_embeddings", context)? as f64,
        low_frequency,
        high_frequency,
    })
}
