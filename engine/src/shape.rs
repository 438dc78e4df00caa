//! Named shapes: the published sizes of well-known models, to be filled with random numbers. Speed depends on sizes, and hardly on
//! what the weights say.

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::Tokenizer;

use crate::error::LoadError;
use crate::options::ModelSource;

/// The names that [`shape`] knows.
pub const SHAPES: [&str; 8] = ["peer-moe", "llama-150m", "v2-lite", "moonlight", "v3-slice", "qwen3-30b", "olmoe", "mixtral"];

/// A model of a named shape with random weights and a vocabulary of bytes; `layers` cuts it to so many. None for another name.
pub fn shape(name: &str, layers: Option<usize>) -> Option<ModelSource> {
    let mut config = config(name)?;
    if let Some(layers) = layers {
        config["num_hidden_layers"] = json!(layers);
    }
    Some(ModelSource::Random { config: config.to_string() })
}

/// `config.json` as it was published, or the sizes of a measurement model.
fn config(name: &str) -> Option<Value> {
    let config = match name {
        // DeepSeek's architecture at 750 M parameters, 254 M of them active.
        "peer-moe" => deepseek_v3(json!({
            "vocab_size": 129_280, "hidden_size": 1024, "intermediate_size": 2816, "moe_intermediate_size": 384,
            "num_hidden_layers": 12, "num_attention_heads": 8, "n_shared_experts": 1, "n_routed_experts": 32,
            "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "q_lora_rank": 512,
        })),
        "llama-150m" => json!({
            "model_type": "llama", "vocab_size": 32_000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "num_key_value_heads": 12, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "tie_word_embeddings": false,
        }),
        "v2-lite" => json!({
            "model_type": "deepseek_v2", "vocab_size": 102_400, "hidden_size": 2048, "intermediate_size": 10_944,
            "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16, "n_shared_experts": 2,
            "n_routed_experts": 64, "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
            "scoring_func": "softmax", "routed_scaling_factor": 1.0, "norm_topk_prob": false, "first_k_dense_replace": 1,
            "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "max_position_embeddings": 4096,
        }),
        "moonlight" => deepseek_v3(json!({
            "vocab_size": 163_840, "hidden_size": 2048, "intermediate_size": 11_264, "moe_intermediate_size": 1408,
            "num_hidden_layers": 27, "num_attention_heads": 16, "n_shared_experts": 2, "n_routed_experts": 64,
            "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": null,
        })),
        // Of V3 as many layers as fit; the first three are dense.
        "v3-slice" => deepseek_v3(json!({
            "vocab_size": 129_280, "hidden_size": 7168, "intermediate_size": 18_432, "moe_intermediate_size": 2048,
            "num_hidden_layers": 4, "num_attention_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
            "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3, "q_lora_rank": 1536,
        })),
        "qwen3-30b" => json!({
            "model_type": "qwen3_moe", "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 6144,
            "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
            "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 4096, "tie_word_embeddings": false,
        }),
        "olmoe" => json!({
            "model_type": "olmoe", "vocab_size": 50_304, "hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16,
            "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": false,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        }),
        "mixtral" => json!({
            "model_type": "mixtral", "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "rope_theta": 1e6,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        }),
        _ => return None,
    };
    Some(config)
}

/// What all models of the V3 family have in common, and `sizes`.
fn deepseek_v3(sizes: Value) -> Value {
    let mut config = json!({
        "model_type": "deepseek_v3", "routed_scaling_factor": 2.5, "norm_topk_prob": true, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "max_position_embeddings": 4096,
    });
    if let (Value::Object(config), Value::Object(sizes)) = (&mut config, sizes) {
        config.extend(sizes);
    }
    config
}

/// A tokenizer.json in which every byte is a token.
pub(crate) fn byte_tokenizer() -> Result<Vec<u8>, LoadError> {
    let failed = |error: tokenizers::Error| LoadError::malformed("tokenizer.json", error);
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let words: Vocab = alphabet.iter().map(char::to_string).zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(words, Vec::new()).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.to_string(false).map(String::into_bytes).map_err(failed)
}

/// A tensor of random numbers that depend on its name alone: norms lie around one, all others around zero, scaled by their inputs.
pub(crate) fn random_tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let (center, inputs) = (if name.contains("norm") { 1.0 } else { 0.0 }, shape.last().copied().unwrap_or(1) as f32);
    let spread = 3.0 / inputs.sqrt();
    let mut state = seed | 1;
    let number = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        center + spread * ((state >> 40) as f32 / (1 << 24) as f32 - 0.5)
    };
    (0..shape.iter().product::<usize>()).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    #[test]
    fn every_named_shape_is_one_that_the_engine_reads() {
        for name in SHAPES {
            let config = config(name).expect("it has a name").to_string();
            ModelConfig::parse(config.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(shape("gpt-2", None).is_none());
    }

    #[test]
    fn random_numbers_follow_from_the_name_and_norms_lie_around_one() {
        let matrix = random_tensor("model.layers.0.mlp.down_proj.weight", &[40, 100]);
        assert_eq!(matrix, random_tensor("model.layers.0.mlp.down_proj.weight", &[40, 100]));
        assert_ne!(matrix, random_tensor("model.layers.1.mlp.down_proj.weight", &[40, 100]));
        let mean = |numbers: &[f32]| numbers.iter().sum::<f32>() / numbers.len() as f32;
        assert!(mean(&matrix).abs() < 0.01);
        assert!((mean(&random_tensor("model.norm.weight", &[4000])) - 1.0).abs() < 0.01);
    }
}
