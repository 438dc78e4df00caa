//! The router's choice, and the chosen experts, each run once over all the rows that chose it.

use crate::backend::Expert;
use crate::backend::cpu::kernel::Kernel;
use crate::backend::cpu::operand::Operand;
use crate::backend::cpu::product::{self, Cells, Part, Put};
use crate::backend::cpu::vector::{self, exp, sigmoid};
use crate::backend::cpu::{Cpu, Rows};
use crate::config::{MoeConfig, Router, Scores};

/// For each row the experts it goes to, in rising order, and their weights.
#[derive(Default)]
pub(crate) struct Routes {
    per_token: usize,
    experts: Vec<usize>,
    weights: Vec<f32>,
}

impl Routes {
    /// Chooses by score plus bias, the best groups first; weighs by the score alone. Ties go to the lower index.
    pub(super) fn choose(&mut self, logits: &[f32], bias: Option<&[f32]>, moe: &MoeConfig) {
        self.per_token = moe.per_token;
        self.experts.clear();
        self.weights.clear();
        for logits in logits.chunks_exact(moe.experts) {
            let scores = scores(logits, moe.router.scores);
            let mut choice = scores.clone();
            choice.iter_mut().zip(bias.unwrap_or_default()).for_each(|(choice, bias)| *choice += bias);
            close_groups(&mut choice, moe);
            let mut chosen = best(&choice, moe.per_token);
            chosen.sort_unstable();
            let total: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
            let norm = if moe.router.normalise { total + 1e-20 } else { 1.0 };
            self.weights.extend(chosen.iter().map(|expert| scores[*expert] / norm * moe.router.scale));
            self.experts.extend(chosen);
        }
    }
}

#[cfg(test)]
impl Routes {
    pub(super) fn given(per_token: usize, experts: Vec<usize>, weights: Vec<f32>) -> Routes {
        Routes { per_token, experts, weights }
    }
}

/// What the router thinks of each expert.
fn scores(logits: &[f32], kind: Scores) -> Vec<f32> {
    if kind == Scores::BiasedSigmoid {
        return logits.iter().map(|logit| sigmoid(*logit)).collect();
    }
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| exp(logit - highest)).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

/// Leaves only the groups whose best experts score highest.
fn close_groups(choice: &mut [f32], moe: &MoeConfig) {
    let Router { scores, groups, groups_kept, .. } = moe.router;
    if groups_kept == groups {
        return;
    }
    let size = moe.experts / groups;
    let counting = if scores == Scores::BiasedSigmoid { 2 } else { 1 };
    let together = |group: &[f32]| best(group, counting).iter().map(|expert| group[*expert]).sum();
    let groups: Vec<f32> = choice.chunks_exact(size).map(together).collect();
    let kept = best(&groups, groups_kept);
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

/// What lies between the router and the experts' answers; the memory is kept.
pub(super) struct Scratch {
    /// Which of all routes stand in which place: those of one expert side by side.
    order: Vec<usize>,
    /// The experts in use, in rising order.
    used: Vec<usize>,
    gathered: Operand,
    raised: Vec<f32>,
    gated: Operand,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { order: Vec::new(), used: Vec::new(), gathered: Operand::new(), raised: Vec::new(), gated: Operand::new() }
    }

    /// Sorts the routes by expert, those of one expert by row, and makes a run of each expert's.
    fn sort(&mut self, routes: &Routes, experts: &[Expert<Cpu>], kernel: Kernel) {
        let Expert { gate_up, down } = &experts[0];
        self.order.clear();
        self.order.extend(0..routes.experts.len());
        self.order.sort_unstable_by_key(|route| (routes.experts[*route], *route));
        self.used.clear();
        self.gathered.clear(kernel.form, gate_up.inputs());
        self.gated.clear(kernel.form, down.inputs());
        for run in self.order.chunk_by(|a, b| routes.experts[*a] == routes.experts[*b]) {
            self.used.push(routes.experts[run[0]]);
            self.gathered.add_run(run.len(), kernel.rows_max);
            self.gated.add_run(run.len(), kernel.rows_max);
        }
    }
}

impl Cpu {
    /// `out += sum of weight * expert(x)` over the routes of each row, each row's experts in rising order.
    pub(super) fn run_experts(&self, x: &Rows, routes: &Routes, experts: &[Expert<Cpu>], out: &mut Rows) {
        let (pool, width, kernel) = (&self.pool, self.width, self.kernel(experts[0].down.format()));
        let mut scratch = self.scratch();
        scratch.experts.sort(routes, experts, kernel);
        let Scratch { order, used, gathered, raised, gated } = &mut scratch.experts;

        gathered.fill(pool, width, |place| x.row(order[place] / routes.per_token));
        let raised_width = experts[0].gate_up.outputs();
        raised.resize(order.len() * raised_width, 0.0);
        let parts = used.iter().enumerate();
        let parts = parts.map(|(run, expert)| Part { run, matrix: &experts[*expert].gate_up, first_row: 0, first_column: 0 });
        product::multiply(pool, kernel, gathered, parts, Cells::new(raised, raised_width), Put::Set);

        pool.split_rows(raised.len(), raised.chunks_exact_mut(raised_width), |row| vector::swiglu_in_place(width, row));
        gated.fill(pool, width, |place| &raised[place * raised_width..][..raised_width / 2]);

        // A task has the same outputs of all experts, so that it can add them up in their order.
        let down = &experts[0].down;
        let cost = order.len() * down.cost();
        let cells = Cells::new(&mut out.data, out.width);
        pool.split(cost, product::blocks(0..down.panels(), pool.share(down.panels())), |panels| {
            for (run, expert) in used.iter().enumerate() {
                let tiles = gated.tiles(gated.run(run));
                product::walk(kernel, tiles, &experts[*expert].down, panels.clone(), |place, columns, values| {
                    let (row, weight) = (order[place] / routes.per_token, routes.weights[order[place]]);
                    // SAFETY: a task has its own panels, which are columns.
                    let out = unsafe { cells.row(row, columns) };
                    product::put_each(out, values, |out, value| *out += value * weight);
                });
            }
        });
    }
}
