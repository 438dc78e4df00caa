//! In every format logits are the same bits whatever else is in the batch, and however a prompt is cut, paged and threaded.

use crate::allocations;
use crate::backend::cpu::{Cache, Cpu, Format};
use crate::batch::Batch;
use crate::draft::DraftBatch;
use crate::model::Forward;
use crate::model::golden::load;

const TOKENS: usize = 101;
const CACHE_TOKENS: usize = 8192;

/// One way to compute the same prompt.
struct Scene {
    chunk: usize,
    page_tokens: usize,
    threads: usize,
    companions: usize,
}

const ALONE: Scene = Scene { chunk: TOKENS, page_tokens: CACHE_TOKENS, threads: 1, companions: 0 };

/// The logits after every token of the prompt, as bits.
fn logits(variant: &str, format: Format, scene: &Scene) -> Vec<u32> {
    let (mut model, config) = load(variant, Cpu::new(scene.threads).in_format(format), CACHE_TOKENS);
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|index| (index * 37 + 11) % 288).collect();
    let page_tokens = scene.page_tokens.next_multiple_of(Cache::page_step(&config.attention));
    // Pages from the far end of the cache, in falling order, so that neighbours in the prompt are none in memory.
    let last = CACHE_TOKENS / page_tokens - 1;
    let pages: Vec<u32> = (0..TOKENS.div_ceil(page_tokens)).map(|page| (last - page) as u32).collect();
    let mut all = Vec::new();
    for start in (0..TOKENS).step_by(scene.chunk) {
        let end = TOKENS.min(start + scene.chunk);
        let mut batch = Batch::default();
        batch.clear(page_tokens);
        for companion in 0..scene.companions {
            if companion == scene.companions / 2 {
                push_all_sampled(&mut batch, start, &tokens[start..end], &pages);
            }
            let others: Vec<u32> = (0..1 + companion as u32 % 7).map(|index| index + companion as u32).collect();
            batch.push(1 + companion, 0, &others, &[companion as u32], false);
        }
        if scene.companions == 0 {
            push_all_sampled(&mut batch, start, &tokens[start..end], &pages);
        }
        all.extend(model.forward(&batch).iter().map(|logit| logit.to_bits()));
    }
    assert_eq!(all.len(), TOKENS * config.vocab_size);
    all
}

fn push_all_sampled(batch: &mut Batch, computed: usize, tokens: &[u32], pages: &[u32]) {
    let first = batch.rows.len() as u32;
    batch.push(0, computed, tokens, pages, false);
    batch.sampled.extend(first..batch.rows.len() as u32);
}

#[test]
fn logits_are_the_same_bits_in_every_scene() {
    let scenes = [
        Scene { chunk: 1, page_tokens: 16, ..ALONE },
        Scene { chunk: 7, page_tokens: 5, threads: 2, ..ALONE },
        Scene { companions: 63, page_tokens: 40, threads: 2, ..ALONE },
        Scene { chunk: 16, companions: 63, page_tokens: 8, threads: 3 },
        Scene { chunk: 1, companions: 40, page_tokens: 7, threads: 4 },
    ];
    for variant in ["everything", "two_groups", "v2", "qwen2", "qwen3_moe", "olmoe_clip"] {
        for format in [Format::F32, Format::Bf16, Format::Int8] {
            let alone = logits(variant, format, &ALONE);
            for (index, scene) in scenes.iter().enumerate() {
                assert!(logits(variant, format, scene) == alone, "{variant} in {format:?}, scene {index}");
            }
        }
    }
}

/// The draft layer's logits after 20 tokens of one prompt, of which it has computed those from the tenth on and looks at those from
/// `first` on. In the slots before there are its entries of some `strangers`.
fn draft(format: Format, first: usize, strangers: &[u32], companions: u32) -> Vec<u32> {
    let (mut model, config) = load("mtp_everything", Cpu::new(2).in_format(format), CACHE_TOKENS);
    let (mut batch, mut drafts) = (Batch::default(), DraftBatch::default());
    let tokens: Vec<u32> = (0..21).map(|index| (index * 37 + 11) % 288).collect();
    let pages = [7, 3, 5];
    batch.clear(8);
    batch.push(0, 0, &tokens[..9], &pages, false);
    model.forward(&batch);
    drafts.clear(8);
    drafts.entries.push(0, 0, strangers, &pages, false);
    drafts.states = (0..strangers.len() as u32).collect();
    model.draft(&drafts);

    batch.clear(8);
    drafts.clear(8);
    for companion in 0..companions {
        batch.push(1, 0, &[companion; 3], &[20 + companion], true);
        drafts.entries.push(1, 0, &[companion; 3], &[20 + companion], true);
        drafts.asking.push(1, 2, &[companion], &[20 + companion], true);
    }
    batch.push(0, 9, &tokens[9..20], &pages, true);
    drafts.entries.push(0, 9, &tokens[10..], &pages, true);
    drafts.asking.push(0, 19, &tokens[20..], &pages, true);
    drafts.asking.look_from(first);
    drafts.states = (0..batch.rows.len() as u32).collect();
    model.forward(&batch);
    let logits = model.draft(&drafts);
    assert_eq!(logits.len(), (companions as usize + 1) * config.vocab_size);
    logits[companions as usize * config.vocab_size..].iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn drafts_are_the_same_bits_whatever_lies_before_their_first_entry_and_whoever_is_in_the_batch() {
    for format in [Format::F32, Format::Bf16, Format::Int8] {
        let alone = draft(format, 9, &[], 0);
        assert!(draft(format, 9, &[5; 9], 0) == alone, "strangers before, {format:?}");
        assert!(draft(format, 9, &[5; 9], 30) == alone, "companions, {format:?}");
        assert!(draft(format, 8, &[5; 9], 0) != alone, "the stranger that is looked at makes no difference");
    }
}

#[test]
fn a_batch_that_is_no_larger_than_one_before_is_computed_without_the_heap() {
    for variant in ["everything", "mtp_everything", "v2", "qwen2", "qwen3_moe", "olmoe_clip"] {
        for format in [Format::F32, Format::Bf16, Format::Int8] {
            let (mut model, config) = load(variant, Cpu::new(1).in_format(format), CACHE_TOKENS);
            let (mut batch, mut drafts) = (Batch::default(), DraftBatch::default());
            let mut forward = |tokens: usize| {
                batch.clear(32);
                drafts.clear(32);
                for sequence in 0..8 {
                    batch.push(sequence, 0, &vec![7; tokens], &[sequence as u32], true);
                    drafts.entries.push(sequence, 0, &vec![7; tokens], &[sequence as u32], true);
                    drafts.asking.push(sequence, tokens - 1, &[7], &[sequence as u32], true);
                }
                drafts.states = (0..8 * tokens as u32).collect();
                let before = allocations::count();
                model.forward(&batch);
                assert_eq!(model.draft(&drafts).is_empty(), config.mtp_layers == 0);
                allocations::count() - before
            };
            assert!(forward(16) > 0, "the first batch makes room");
            assert_eq!([16, 5, 1].map(forward), [0; 3], "{variant} in {format:?}");
        }
    }
}
