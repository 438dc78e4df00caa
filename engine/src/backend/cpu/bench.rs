//! The product of experts on its own, and the peak it is compared with. Only benchmarks use it.

use std::hint::black_box;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::backend::Backend;
use crate::backend::cpu::kernel::Kernel;
use crate::backend::cpu::product::{self, Cells, Part, Put};
use crate::backend::cpu::vector::Width;
use crate::backend::cpu::{Cpu, Rows};
use crate::device;
use crate::options::Dtype;

/// Several matrices of one shape, each for rows of its own, on one thread.
pub struct GroupedProduct {
    cpu: Cpu,
    matrices: Vec<<Cpu as Backend>::Matrix>,
    x: Rows,
    out: Rows,
}

impl GroupedProduct {
    /// Random matrices `[outputs, inputs]`, packed for the format.
    pub fn new(dtype: Dtype, matrices: usize, outputs: usize, inputs: usize) -> GroupedProduct {
        let cpu = Cpu::new(1).in_format(device::format(dtype, false));
        let weights: Vec<f32> = (0..outputs * inputs).map(|index| (index * 37 % 101) as f32 / 101.0 - 0.5).collect();
        let matrices = (0..matrices).map(|_| cpu.matrix(&weights, inputs)).collect();
        let (x, out) = (cpu.rows(inputs), cpu.rows(outputs));
        GroupedProduct { cpu, matrices, x, out }
    }

    /// Operations per second with `rows` for each matrix, from f32 rows to f32 rows: conversion included.
    pub fn measure(&mut self, rows: usize) -> f64 {
        let GroupedProduct { cpu, matrices, x, out } = self;
        x.resize(rows * matrices.len());
        out.resize(rows * matrices.len());
        for (index, x) in x.data.iter_mut().enumerate() {
            *x = (index * 53 % 97) as f32 / 97.0 - 0.5;
        }
        let operations = 2.0 * (out.data.len() * x.width) as f64;
        let start = cpu_seconds();
        let (kernel, stride) = (cpu.kernel(matrices[0].format()), out.width);
        let operand = &mut cpu.scratch().linear;
        operand.clear(kernel.form, x.width);
        matrices.iter().for_each(|_| operand.add_run(rows, kernel.rows_max));
        operand.fill(&cpu.pool, cpu.width, |row| x.row(row));
        let parts = matrices.iter().enumerate().map(|(run, matrix)| Part { run, matrix, put: Put::Set, first_row: 0, first_column: 0 });
        product::multiply(cpu, kernel, operand, parts, Cells::new(&mut out.data, stride));
        black_box(&out.data);
        operations / (cpu_seconds() - start)
    }
}

/// Operations per second of one core that multiplies what its registers hold, for as long as a product takes: in a shorter time its
/// clock would not come down to what it can keep.
pub fn peak(dtype: Dtype) -> f64 {
    const ROUNDS: usize = 40_000_000;

    let kernel = Kernel::of(Width::detect(), device::format(dtype, false));
    let start = cpu_seconds();
    let operations = kernel.spin(black_box(ROUNDS));
    operations as f64 / (cpu_seconds() - start)
}

/// Time that this thread has spent on a core, so that other processes do not count. (The same figure in /proc is only brought up
/// to date some hundred times a second.)
fn cpu_seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}
