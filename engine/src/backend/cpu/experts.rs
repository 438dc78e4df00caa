//! The router's choice, and the chosen experts, each run once over all the rows that chose it.

use crate::backend::Expert;
use crate::backend::cpu::kernel::Kernel;
use crate::backend::cpu::operand::Operand;
use crate::backend::cpu::product::{self, Cells, Part, Put};
use crate::backend::cpu::vector::{exp, sigmoid};
use crate::backend::cpu::{Cpu, Rows, sums};
use crate::config::{MoeConfig, Router, Scores};

/// For each row the experts it goes to, in rising order, and their weights.
#[derive(Default)]
pub(crate) struct Routes {
    per_token: usize,
    experts: Vec<usize>,
    weights: Vec<f32>,
    choice: Choice,
}

/// What choosing for one row works in; the memory is kept.
#[derive(Default)]
struct Choice {
    scores: Vec<f32>,
    biased: Vec<f32>,
    groups: Vec<f32>,
    order: Vec<usize>,
    kept: Vec<usize>,
}

impl Routes {
    /// Chooses by score plus bias, the best groups first; weighs by the score alone. Ties go to the lower index.
    pub(super) fn choose(&mut self, logits: &[f32], bias: Option<&[f32]>, moe: &MoeConfig) {
        let Routes { per_token, experts, weights, choice } = self;
        *per_token = moe.per_token;
        experts.clear();
        weights.clear();
        for logits in logits.chunks_exact(moe.experts) {
            let (chosen, scores) = choice.of(logits, bias, moe);
            let total: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
            let norm = if moe.router.normalise { total + 1e-20 } else { 1.0 };
            weights.extend(chosen.iter().map(|expert| scores[*expert] / norm * moe.router.scale));
            experts.extend_from_slice(chosen);
        }
    }
}

impl Choice {
    /// The experts of one row, in rising order, and what the router thinks of all.
    fn of(&mut self, logits: &[f32], bias: Option<&[f32]>, moe: &MoeConfig) -> (&[usize], &[f32]) {
        score(logits, moe.router.scores, &mut self.scores);
        self.biased.clone_from(&self.scores);
        self.biased.iter_mut().zip(bias.unwrap_or_default()).for_each(|(score, bias)| *score += bias);
        self.close_groups(moe);
        best(&self.biased, moe.per_token, &mut self.order);
        self.order.sort_unstable();
        (&self.order, &self.scores)
    }

    /// Leaves only the groups whose best experts score highest.
    fn close_groups(&mut self, moe: &MoeConfig) {
        let Choice { biased, groups, order, kept, .. } = self;
        let Router { scores, groups: count, groups_kept, .. } = moe.router;
        if groups_kept == count {
            return;
        }
        let size = moe.experts / count;
        let counting = if scores == Scores::BiasedSigmoid { 2 } else { 1 };
        groups.clear();
        groups.extend(biased.chunks_exact(size).map(|group| {
            best(group, counting, order);
            order.iter().map(|expert| group[*expert]).sum::<f32>()
        }));
        best(groups, groups_kept, kept);
        for (index, group) in biased.chunks_exact_mut(size).enumerate() {
            if !kept.contains(&index) {
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
}

impl Routes {
    /// A choice that no router made.
    pub(super) fn given(per_token: usize, experts: Vec<usize>, weights: Vec<f32>) -> Routes {
        Routes { per_token, experts, weights, choice: Choice::default() }
    }
}

/// What the router thinks of each expert.
fn score(logits: &[f32], kind: Scores, scores: &mut Vec<f32>) {
    scores.clear();
    if kind == Scores::BiasedSigmoid {
        return scores.extend(logits.iter().map(|logit| sigmoid(*logit)));
    }
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.extend(logits.iter().map(|logit| exp(logit - highest)));
    let total: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= total);
}

/// The indices of the highest values, best first.
fn best(values: &[f32], count: usize, order: &mut Vec<usize>) {
    order.clear();
    order.extend(0..values.len());
    order.sort_unstable_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
}

/// What lies between the router and the experts' answers; the memory is kept.
pub(super) struct Scratch {
    /// Which of all routes stand in which place: those of one expert side by side.
    order: Vec<usize>,
    /// The experts in use, in rising order.
    used: Vec<usize>,
    gathered: Operand,
    gated: Vec<f32>,
    lowered: Operand,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { order: Vec::new(), used: Vec::new(), gathered: Operand::new(), gated: Vec::new(), lowered: Operand::new() }
    }

    /// Sorts the routes by expert, those of one expert by row, and makes a run of each expert's.
    fn sort(&mut self, routes: &Routes, experts: &[Expert<Cpu>], kernel: Kernel) {
        let Expert { up, down, .. } = &experts[0];
        self.order.clear();
        self.order.extend(0..routes.experts.len());
        self.order.sort_unstable_by_key(|route| (routes.experts[*route], *route));
        self.used.clear();
        self.gathered.clear(kernel.form, up.inputs());
        self.lowered.clear(kernel.form, down.inputs());
        for run in self.order.chunk_by(|a, b| routes.experts[*a] == routes.experts[*b]) {
            self.used.push(routes.experts[run[0]]);
            self.gathered.add_run(run.len(), kernel.rows_max);
            self.lowered.add_run(run.len(), kernel.rows_max);
        }
    }
}

impl Cpu {
    /// `out += sum of weight * expert(x)` over the routes of each row, each row's experts in rising order.
    pub(super) fn run_experts(&self, x: &Rows, routes: &Routes, experts: &[Expert<Cpu>], out: &mut Rows) {
        let (pool, width, kernel) = (&self.pool, self.width, self.kernel(experts[0].down.format()));
        let mut scratch = self.scratch();
        scratch.experts.sort(routes, experts, kernel);
        let Scratch { order, used, gathered, gated, lowered } = &mut scratch.experts;

        gathered.fill(pool, width, |place| x.row(order[place] / routes.per_token));
        let down = &experts[0].down;
        gated.resize(order.len() * down.inputs(), 0.0);
        let parts = used.iter().enumerate().map(|(run, expert)| {
            let Expert { gate, up, .. } = &experts[*expert];
            Part { run, matrix: up, put: Put::SetGated(gate), first_row: 0, first_column: 0 }
        });
        product::multiply(self, kernel, gathered, parts, Cells::new(gated, down.inputs()));
        lowered.fill(pool, width, |place| &gated[place * down.inputs()..][..down.inputs()]);

        // A task has the same outputs of all experts, so that it can add them up in their order.
        let cost = order.len() * down.cost();
        let cells = Cells::new(&mut out.data, out.width);
        pool.split(cost, product::blocks(0..down.panels(), pool.share(down.panels())), |panels| {
            for (run, expert) in used.iter().enumerate() {
                let tiles = lowered.tiles(lowered.run(run));
                product::walk(self, kernel, tiles, [&experts[*expert].down], panels.clone(), |place, columns, [sums]| {
                    let (row, weight) = (order[place] / routes.per_token, routes.weights[order[place]]);
                    // SAFETY: a task has its own panels, which are columns.
                    let out = unsafe { cells.row(row, columns) };
                    sums::add(width, sums, weight, out);
                });
            }
        });
    }
}
