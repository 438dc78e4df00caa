//! Golden parity: logits and greedy tokens of tiny random models against transformers (`engine/scripts/golden.py`).

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::backend::cpu::Cpu;
use crate::batch::Batch;
use crate::config::ModelConfig;
use crate::draft::DraftBatch;
use crate::model::{Forward, Model};
use crate::options::ModelSource;
use crate::weights::Weights;

const LOGIT_DIFFERENCE_MAX: f32 = 1e-4;

fn fixture(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(variant)
}

pub(super) fn load(variant: &str, cpu: Cpu, cache_tokens: usize) -> (Model<Cpu>, ModelConfig) {
    let source = ModelSource::Directory(fixture(variant));
    let config = ModelConfig::parse(&source.require("config.json").unwrap()).unwrap();
    let weights = Weights::open(&source, config.fp8_block).unwrap();
    let model = Model::load(cpu, &config, &weights, cache_tokens, 128, config.mtp_layers > 0).unwrap();
    (model, config)
}

/// The logits of the last `count` of these tokens, computed in one piece.
fn logits(model: &mut Model<Cpu>, tokens: &[u32], count: usize) -> Vec<f32> {
    let mut batch = Batch::default();
    batch.clear(128);
    batch.push(0, 0, tokens, &[0], false);
    batch.sampled = (tokens.len() - count..tokens.len()).map(|row| row as u32).collect();
    model.forward(&batch).to_vec()
}

/// The logits of the draft layer after the last `count` of these tokens, of which the model has computed all but the last.
fn draft_logits(model: &mut Model<Cpu>, tokens: &[u32], count: usize) -> Vec<f32> {
    let (states, pages) = (tokens.len() - 1, &[0]);
    logits(model, &tokens[..states], 1);
    let mut drafts = DraftBatch::default();
    drafts.clear(128);
    drafts.entries.push(0, 0, &tokens[1..], pages, false);
    drafts.entries.sampled = (states - count..states).map(|row| row as u32).collect();
    drafts.states = (0..states as u32).collect();
    drafts.asking.push(0, states - count, &tokens[tokens.len() - count..], pages, false);
    model.draft(&drafts).to_vec()
}

fn highest(logits: &[f32]) -> u32 {
    let best = logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    best.unwrap().0 as u32
}

fn assert_agree(ours: &[f32], expected: &[f32], what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let difference = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: max logit difference {difference:e}");
    assert!(difference < LOGIT_DIFFERENCE_MAX, "{what}: logits differ by {difference}");
}

fn check(variant: &str) {
    let (mut model, config) = load(variant, Cpu::new(2), 128);
    let bytes = std::fs::read(fixture(variant).join("golden.bin")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| golden.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec();
    let tokens = |name: &str| numbers(name).into_iter().map(u32::from_le_bytes).collect::<Vec<_>>();
    let floats = |name: &str| numbers(name).into_iter().map(f32::from_le_bytes).collect::<Vec<_>>();
    for prompt in ["short", "long"] {
        let mut sequence = tokens(&format!("{prompt}.prompt"));
        let expected = floats(&format!("{prompt}.logits"));
        let ours = logits(&mut model, &sequence, expected.len() / config.vocab_size);
        assert_agree(&ours, &expected, &format!("{variant} {prompt}"));
        if config.mtp_layers > 0 {
            let expected = floats(&format!("{prompt}.drafts"));
            let ours = draft_logits(&mut model, &sequence, expected.len() / config.vocab_size);
            assert_agree(&ours, &expected, &format!("{variant} {prompt}, drafts"));
        }

        let greedy: Vec<u32> = (0..32)
            .map(|_| {
                let next = highest(&logits(&mut model, &sequence, 1));
                sequence.push(next);
                next
            })
            .collect();
        assert_eq!(greedy, tokens(&format!("{prompt}.greedy")), "{variant} {prompt}");
    }
}

#[test]
fn plain_queries_and_plain_rope() {
    check("plain");
}

#[test]
fn low_rank_queries_and_yarn() {
    check("q_lora_yarn");
}

#[test]
fn two_groups_and_yarn_with_unequal_scales() {
    check("two_groups");
}

#[test]
fn router_weights_that_are_not_normalised() {
    check("raw_topk");
}

#[test]
fn two_shared_experts_and_tied_embeddings() {
    check("two_shared_tied");
}

#[test]
fn everything_at_once_in_shards() {
    check("everything");
}

#[test]
fn rotary_pairs_that_are_stored_in_halves() {
    check("half_rotation");
}

#[test]
fn fp8_blocks_that_are_cut_off() {
    check("fp8");
}

#[test]
fn fp8_blocks_with_shorter_scales() {
    check("fp8_bf16_scales");
    check("fp8_e8m0_scales");
}

#[test]
fn a_layer_for_multi_token_prediction() {
    check("mtp");
}

#[test]
fn a_layer_for_multi_token_prediction_with_everything_at_once() {
    check("mtp_everything");
}

#[test]
fn v2_with_group_limited_greedy_and_yarn() {
    check("v2");
}

#[test]
fn v2_lite_with_a_greedy_softmax_router() {
    check("v2_lite");
}

#[test]
fn llama_with_stretched_long_waves() {
    check("llama");
}

#[test]
fn llama_with_biases_and_wide_heads() {
    check("llama_bias");
}

#[test]
fn qwen2_with_biases_and_tied_embeddings() {
    check("qwen2");
}

#[test]
fn qwen3_with_normalised_heads_and_plain_yarn() {
    check("qwen3");
}

#[test]
fn qwen3_moe_with_a_dense_layer_in_between() {
    check("qwen3_moe");
}

#[test]
fn qwen3_moe_with_experts_in_every_second_layer() {
    check("qwen3_moe_step");
}

#[test]
fn olmoe_with_all_heads_normalised_together() {
    check("olmoe");
}

#[test]
fn olmoe_with_one_group_and_cut_off_values() {
    check("olmoe_clip");
}

#[test]
fn mixtral() {
    check("mixtral");
}
