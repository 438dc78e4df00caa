//! The router's choice, and the chosen experts, each run once over all the rows that chose it.

use crate::backend::Expert;
use crate::backend::cpu::matrix::{self, Strided};
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::vector::{self, Width, sigmoid};
use crate::backend::cpu::{Cpu, Rows};
use crate::config::MoeConfig;

/// Rows of one expert that make one piece of work.
const ROWS_MAX: usize = 32;

/// For each row the experts it goes to, in rising order, and their weights.
#[derive(Default)]
pub(crate) struct Routes {
    per_token: usize,
    experts: Vec<usize>,
    weights: Vec<f32>,
}

impl Routes {
    /// Chooses by score plus bias, the best groups first; weighs by the score alone. Ties go to the lower index.
    pub(super) fn choose(&mut self, logits: &[f32], bias: &[f32], moe: &MoeConfig) {
        self.per_token = moe.per_token;
        self.experts.clear();
        self.weights.clear();
        for logits in logits.chunks_exact(moe.experts) {
            let scores: Vec<f32> = logits.iter().map(|logit| sigmoid(*logit)).collect();
            let mut choice: Vec<f32> = scores.iter().zip(bias).map(|(score, bias)| score + bias).collect();
            close_groups(&mut choice, moe);
            let mut chosen = best(&choice, moe.per_token);
            chosen.sort_unstable();
            let total: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
            let norm = if moe.normalise { total + 1e-20 } else { 1.0 };
            self.weights.extend(chosen.iter().map(|expert| scores[*expert] / norm * moe.scale));
            self.experts.extend(chosen);
        }
    }

    /// The routes sorted by expert: for each expert in use, which of all routes go to it.
    fn by_expert(&self) -> Vec<(usize, Vec<usize>)> {
        let mut order: Vec<usize> = (0..self.experts.len()).collect();
        order.sort_by_key(|route| self.experts[*route]);
        let same = |a: &usize, b: &usize| self.experts[*a] == self.experts[*b];
        let runs = order.chunk_by(same).flat_map(|run| run.chunks(ROWS_MAX));
        runs.map(|run| (self.experts[run[0]], run.to_vec())).collect()
    }
}

/// Leaves only the groups whose two best experts score highest together.
fn close_groups(choice: &mut [f32], moe: &MoeConfig) {
    if moe.groups_kept == moe.groups {
        return;
    }
    let size = moe.experts / moe.groups;
    let together = |group: &[f32]| best(group, 2).iter().map(|expert| group[*expert]).sum();
    let groups: Vec<f32> = choice.chunks_exact(size).map(together).collect();
    let kept = best(&groups, moe.groups_kept);
    for (index, group) in choice.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&index) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// The indices of the highest values, best first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(count);
    order
}

/// `out += sum of weight * expert(x)` over the routes of each row.
pub(super) fn run(pool: &Pool, width: Width, x: &Rows, routes: &Routes, experts: &[Expert<Cpu>], out: &mut Rows) {
    let work = routes.by_expert();
    let cost = routes.experts.len() * (experts[0].gate_up.cost() + experts[0].down.cost());
    let mut answers = vec![0.0; routes.experts.len() * out.width];
    let mut places = vec![0; routes.experts.len()];
    for (place, route) in work.iter().flat_map(|(_, routes)| routes).enumerate() {
        places[*route] = place;
    }
    let mut unclaimed = answers.as_mut_slice();
    let tasks = work.iter().map(|(expert, taken)| {
        let (own, rest) = std::mem::take(&mut unclaimed).split_at_mut(taken.len() * out.width);
        unclaimed = rest;
        (&experts[*expert], taken, own)
    });
    pool.split(cost, tasks, |(expert, taken, own)| {
        let rows: Vec<f32> = taken.iter().flat_map(|route| x.row(route / routes.per_token)).copied().collect();
        feed_forward(width, expert, &rows, own);
    });
    for (row, out) in out.data.chunks_exact_mut(out.width).enumerate() {
        let first = row * routes.per_token;
        for route in first..first + routes.per_token {
            let answer = &answers[places[route] * out.len()..][..out.len()];
            for (out, answer) in out.iter_mut().zip(answer) {
                *out += answer * routes.weights[route];
            }
        }
    }
}

/// `out += down(silu(gate x) * up x)` for some rows.
fn feed_forward(width: Width, expert: &Expert<Cpu>, x: &[f32], out: &mut [f32]) {
    let Expert { gate_up, down } = expert;
    let x = Strided::packed(x, gate_up.inputs());
    let mut raised = vec![0.0; x.count * gate_up.outputs()];
    matrix::multiply_add(width, x, gate_up.all(), &mut raised, gate_up.outputs());
    let mut gated = vec![0.0; x.count * down.inputs()];
    for (raised, gated) in raised.chunks_exact(gate_up.outputs()).zip(gated.chunks_exact_mut(down.inputs())) {
        vector::swiglu(width, raised, gated);
    }
    matrix::multiply_add(width, Strided::packed(&gated, down.inputs()), down.all(), out, down.outputs());
}
