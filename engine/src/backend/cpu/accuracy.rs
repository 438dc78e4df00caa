//! How far what the operations compute in each format lies from the sums they stand for, taken in f64. Only measured, never used.

use std::iter;
use std::ops::Range;

use crate::backend::cpu::experts::Routes;
use crate::backend::cpu::{Cpu, Format, Rows};
use crate::backend::{Backend, Expert};
use crate::batch::Batch;

/// The formats, and the largest error that each is allowed.
const FORMATS: [(Format, f64); 3] = [(Format::F32, 1e-10), (Format::Bf16, 5e-5), (Format::Int8, 5e-4)];

/// Random shapes that each operation is measured at.
const SHAPES: u32 = 40;

/// The worst normalised mean squared error of one operation in one format, over random shapes.
pub struct OperationError {
    pub operation: &'static str,
    pub format: &'static str,
    pub nmse: f64,
    pub nmse_max: f64,
}

/// What an operation gave, and what it stands for.
pub(super) type Outcome = (Vec<f32>, Vec<f64>);

/// Measures every operation that multiplies, in every format.
pub fn operation_errors() -> Vec<OperationError> {
    let operations: [(&'static str, fn(&Cpu, &mut Numbers) -> Outcome); 4] =
        [("linear", linear), ("experts", experts), ("latent attention", latent_attention), ("grouped attention", grouped_attention)];
    let measure = |(operation, run): (_, fn(&Cpu, &mut Numbers) -> Outcome), (format, nmse_max): (Format, f64)| {
        let cpu = Cpu::new(2).in_format(format);
        let errors = (1..=SHAPES).map(|seed| error(&run(&cpu, &mut Numbers(seed))));
        OperationError { operation, format: format.name(), nmse: errors.fold(0.0, f64::max), nmse_max }
    };
    operations.into_iter().flat_map(|operation| FORMATS.map(|format| measure(operation, format))).collect()
}

/// The squared difference as a share of the squared expectation; without end where something is no number.
fn error((out, expected): &Outcome) -> f64 {
    assert_eq!(out.len(), expected.len());
    let difference: f64 = out.iter().zip(expected).map(|(out, expected)| (f64::from(*out) - expected).powi(2)).sum();
    let error = difference / expected.iter().map(|expected| expected * expected).sum::<f64>();
    if error.is_nan() { f64::INFINITY } else { error }
}

/// Evenly spread random numbers; the state of the generator.
pub(super) struct Numbers(pub(super) u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 ^ (self.0 >> 15)).wrapping_mul(2_246_822_519)
    }

    fn up_to(&mut self, max: usize) -> usize {
        1 + self.next() as usize % max
    }

    /// Between minus one half and one half.
    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() as f64 / f64::from(u32::MAX) - 0.5) as f32).collect()
    }

    fn rows(&mut self, count: usize, width: usize) -> Rows {
        Rows { width, data: self.take(count * width) }
    }
}

fn dot(a: impl IntoIterator<Item = f64>, b: &[f32]) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

fn linear(cpu: &Cpu, numbers: &mut Numbers) -> Outcome {
    let (count, inputs, outputs) = (numbers.up_to(40), numbers.up_to(700), numbers.up_to(200));
    let (x, weights) = (numbers.rows(count, inputs), numbers.take(outputs * inputs));
    let mut out = cpu.rows(outputs);
    cpu.linear(&x, &cpu.matrix(&weights, inputs), &mut out);
    let products = |x: &[f32]| weights.chunks_exact(inputs).map(|weights| dot(x.iter().copied().map(f64::from), weights)).collect();
    (out.data, x.data.chunks_exact(inputs).flat_map(|x| -> Vec<f64> { products(x) }).collect())
}

fn experts(cpu: &Cpu, numbers: &mut Numbers) -> Outcome {
    const EXPERTS: usize = 5;

    let (count, hidden, intermediate, per_token) = (numbers.up_to(40), numbers.up_to(200), numbers.up_to(100), numbers.up_to(3));
    // Wide enough that gates saturate now and then.
    let x = Rows { width: hidden, data: numbers.take(count * hidden).iter().map(|x| x * 4.0).collect() };
    let weights: Vec<[Vec<f32>; 3]> = (0..EXPERTS).map(|_| std::array::from_fn(|_| numbers.take(intermediate * hidden))).collect();
    let packed = weights.iter().map(|[gate, up, down]| Expert {
        gate: cpu.matrix(gate, hidden),
        up: cpu.matrix(up, hidden),
        down: cpu.matrix(down, intermediate),
    });
    let chosen: Vec<usize> = (0..count).flat_map(|row| (0..per_token).map(move |place| (row + place) % EXPERTS)).collect();
    let shares = numbers.take(count * per_token);
    let mut out = Rows { width: hidden, data: vec![0.0; count * hidden] };
    cpu.experts_add(&x, &Routes::given(per_token, chosen.clone(), shares.clone()), &packed.collect::<Vec<_>>(), &mut out);

    let mut expected = vec![0.0; count * hidden];
    for (choice, (expert, share)) in chosen.iter().zip(&shares).enumerate() {
        let row = choice / per_token;
        let [gate, up, down] = &weights[*expert];
        let raised = |weights: &[f32]| dot(x.row(row).iter().copied().map(f64::from), weights);
        let raised = gate.chunks_exact(hidden).zip(up.chunks_exact(hidden)).map(|(gate, up)| (raised(gate), raised(up)));
        let gated: Vec<f64> = raised.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
        for (expected, down) in expected[row * hidden..].iter_mut().zip(down.chunks_exact(intermediate)) {
            *expected += dot(gated.iter().copied(), down) * f64::from(*share);
        }
    }
    (out.data, expected)
}

pub(super) fn latent_attention(cpu: &Cpu, numbers: &mut Numbers) -> Outcome {
    let (heads, latent, rotated) = (numbers.up_to(20), numbers.up_to(90), 2 * numbers.up_to(16));
    let width = latent + rotated;
    let scene = Scene::new(7, width, numbers);
    let mut cache = cpu.cache(scene.slots(), width);
    scene.fill(|slot, entry| cache.latent_mut().write(cpu.width, slot, |cached| cached.copy_from_slice(entry)));
    let queries = numbers.rows(scene.batch.rows.len(), heads * width);
    let mut out = cpu.rows(heads * latent);
    cpu.mla_attend(&queries, 0.7, &scene.batch, &cache, &mut out);
    let heads = |row: usize| (row, queries.row(row).chunks_exact(width));
    let expected = (0..scene.batch.rows.len()).map(heads);
    let expected =
        expected.flat_map(|(row, heads)| heads.flat_map(|head| scene.attend(row, head, 0..width, 0..latent)).collect::<Vec<_>>());
    (out.data, expected.collect())
}

pub(super) fn grouped_attention(cpu: &Cpu, numbers: &mut Numbers) -> Outcome {
    let (groups, per_group, head) = (numbers.up_to(4), numbers.up_to(15), 2 * numbers.up_to(40));
    let scene = Scene::new(32, 2 * groups * head, numbers);
    let mut cache = cpu.cache_grouped(scene.slots(), groups, head);
    let writer = cache.panels_mut().writer();
    scene.fill(|slot, entry| {
        let (keys, values) = entry.split_at(groups * head);
        for (group, (key, value)) in keys.chunks_exact(head).zip(values.chunks_exact(head)).enumerate() {
            // SAFETY: nobody else writes.
            unsafe { writer.write(cpu.width, slot, group, key, value) }
        }
    });
    let queries = numbers.rows(scene.batch.rows.len(), groups * per_group * head);
    let mut out = cpu.rows(queries.width);
    cpu.gqa_attend(&queries, groups, 0.7, &scene.batch, &cache, &mut out);
    let mut expected = Vec::new();
    for row in 0..scene.batch.rows.len() {
        for (index, query) in queries.row(row).chunks_exact(head).enumerate() {
            let key = index / per_group * head;
            let value = groups * head + key;
            expected.extend(scene.attend(row, query, key..key + head, value..value + head));
        }
    }
    (out.data, expected)
}

/// A sequence in the middle of its prompt, and one that draws, over pages that lie anywhere.
struct Scene {
    batch: Batch,
    width: usize,
    entries: Vec<f32>,
}

impl Scene {
    fn new(page_tokens: usize, width: usize, numbers: &mut Numbers) -> Scene {
        const PAGES: u32 = 24;

        let mut batch = Batch::default();
        batch.clear(page_tokens);
        let pages: Vec<u32> = (0..PAGES).map(|page| page * 5 % PAGES).collect();
        let (prompt, drawing) = pages.split_at(12);
        let (computed, tokens) = (numbers.up_to(60), numbers.up_to(24));
        batch.push(0, computed, &vec![0; tokens], prompt, false);
        batch.push(1, numbers.up_to(80), &[0], drawing, true);
        Scene { batch, width, entries: numbers.take(PAGES as usize * page_tokens * width) }
    }

    fn slots(&self) -> usize {
        self.entries.len() / self.width
    }

    fn entry(&self, slot: usize) -> &[f32] {
        &self.entries[slot * self.width..][..self.width]
    }

    /// Writes what the rows look at, in the order of positions. What others have left in the cache may be anything.
    fn fill(&self, mut write: impl FnMut(usize, &[f32])) {
        let left = vec![f32::NAN; self.width];
        (0..self.slots()).for_each(|slot| write(slot, &left));
        for span in &self.batch.spans {
            let slots = self.batch.context(self.batch.rows[span.rows.end - 1]).flatten();
            slots.for_each(|slot| write(slot, self.entry(slot)));
        }
    }

    /// Softmax over the products with all keys up to the row's own, and the values weighed by it.
    fn attend(&self, row: usize, query: &[f32], keys: Range<usize>, values: Range<usize>) -> Vec<f64> {
        let entries = || self.batch.context(self.batch.rows[row]).flatten().map(|slot| self.entry(slot));
        let query = || query.iter().copied().map(f64::from);
        let weights: Vec<f64> = entries().map(|entry| (0.7 * dot(query(), &entry[keys.clone()])).exp()).collect();
        let total: f64 = weights.iter().sum();
        let weighed =
            |channel: usize| iter::zip(&weights, entries()).map(|(weight, entry)| weight / total * f64::from(entry[channel])).sum();
        values.map(weighed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::operation_errors;

    #[test]
    fn every_operation_is_as_exact_as_its_format_allows() {
        for error in operation_errors() {
            println!("{} in {}: NMSE {:.2e}, at most {:.0e}", error.operation, error.format, error.nmse, error.nmse_max);
            assert!(error.nmse <= error.nmse_max, "{} in {}: {:e}", error.operation, error.format, error.nmse);
        }
    }
}
