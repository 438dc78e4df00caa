//! `config.json` and `generation_config.json`, read once into the facts the model needs. What is not understood is refused.

mod attention;
mod experts;
mod fields;
mod quantisation;
mod rope;

use serde_json::Value;

use crate::error::LoadError;
pub(crate) use attention::{AttentionConfig, GqaConfig, MlaConfig, QueryKeyNorm};
pub(crate) use experts::{ExpertNames, MoeConfig, PLAIN, Router, Scores};
use fields::Fields;
pub(crate) use rope::{Llama3, RopeConfig, Stretch, Yarn};

/// The shape and arithmetic of one model.
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    pub(crate) architecture: &'static str,
    pub(crate) vocab_size: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) dense_intermediate: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) tied_embeddings: bool,
    pub(crate) context_length: usize,
    pub(crate) attention: AttentionConfig,
    pub(crate) rope: RopeConfig,
    pub(crate) eos_token_ids: Vec<u32>,
    pub(crate) mtp_layers: usize,
    /// Rows and columns of FP8 weights that share a scale.
    pub(crate) fp8_block: Option<[usize; 2]>,
    experts: Option<MoeConfig>,
    /// For each layer whether it has experts.
    sparse: Vec<bool>,
}

/// One `model_type`: the defaults that its configurations may leave out, and how its parts are read.
struct Family {
    name: &'static str,
    epsilon: f64,
    theta: f64,
    eos: &'static [u32],
    attention: fn(&Fields) -> Result<AttentionConfig, LoadError>,
    experts: Option<fn(&Fields) -> Result<MoeConfig, LoadError>>,
}

const DENSE: Family = Family { name: "llama", epsilon: 1e-6, theta: 1e4, eos: &[2], attention: attention::llama, experts: None };

static FAMILIES: [Family; 8] = [
    Family { name: "deepseek_v2", attention: attention::mla, experts: Some(experts::deepseek_v2), ..DENSE },
    Family { name: "deepseek_v3", eos: &[1], attention: attention::mla, experts: Some(experts::deepseek_v3), ..DENSE },
    Family { name: "qwen3_moe", eos: &[], attention: attention::qwen3, experts: Some(experts::qwen3_moe), ..DENSE },
    Family { name: "olmoe", epsilon: 1e-5, eos: &[50_279], attention: attention::olmoe, experts: Some(experts::olmoe), ..DENSE },
    Family { name: "mixtral", epsilon: 1e-5, theta: 1e6, experts: Some(experts::mixtral), ..DENSE },
    DENSE,
    Family { name: "qwen2", eos: &[], attention: attention::qwen2, ..DENSE },
    Family { name: "qwen3", eos: &[], attention: attention::qwen3, ..DENSE },
];

impl ModelConfig {
    /// Reads `config.json`. The sizes must be there; what configurations leave out has the default of its model type.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ModelConfig, LoadError> {
        let root = Fields::parse("config.json", bytes)?;
        let name = root.expect("model_type", None, &FAMILIES.each_ref().map(|family| family.name))?;
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap_or(&DENSE);
        root.expect("hidden_act", Some("silu"), &["silu"])?;
        root.refuse_flag("mlp_bias")?;
        let layers = root.required("num_hidden_layers")?;
        let context_length = root.required("max_position_embeddings")?;
        Ok(ModelConfig {
            architecture: family.name,
            vocab_size: root.required("vocab_size")?,
            hidden: root.required("hidden_size")?,
            layers,
            dense_intermediate: root.required("intermediate_size")?,
            norm_epsilon: root.float("rms_norm_eps", family.epsilon)? as f32,
            tied_embeddings: root.flag("tie_word_embeddings", false)?,
            context_length,
            attention: (family.attention)(&root)?,
            experts: family.experts.map(|experts| experts(&root)).transpose()?,
            sparse: experts::layers(&root, layers)?,
            rope: rope::parse(&root, context_length, family.theta)?,
            eos_token_ids: root.numbers("eos_token_id")?.unwrap_or_else(|| family.eos.to_vec()),
            fp8_block: quantisation::parse(&root)?,
            mtp_layers: root.count_of(&["num_nextn_predict_layers", "num_mtp_layers"], 0)?,
        })
    }

    /// The experts of a layer; None where it is dense. The layers after the last, for multi-token prediction, have them always.
    pub(crate) fn experts(&self, layer: usize) -> Option<&MoeConfig> {
        self.experts.as_ref().filter(|_| self.sparse.get(layer).is_none_or(|sparse| *sparse))
    }
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
            eos_token_ids: root.numbers("eos_token_id")?.unwrap_or_default(),
        })
    }
}
