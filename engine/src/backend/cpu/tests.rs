//! The kernels against the sums they stand for, at every vector width of this machine.

use super::*;
use crate::backend::cpu::vector::{exp, for_every_width, sigmoid};

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let hash = |index: usize| (index as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    (0..count).map(|index| hash(index) as f32 / u32::MAX as f32 - 0.5).collect()
}

fn widths() -> Vec<Width> {
    let mut widths = vec![Width::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        widths.extend(is_x86_feature_detected!("avx2").then_some(Width::Avx2));
        widths.extend(matches!(Width::detect(), Width::Avx512).then_some(Width::Avx512));
    }
    widths
}

const FORMATS: [Format; 3] = [Format::F32, Format::Bf16, Format::Int8];

/// `x W^T` as the operation gives it, and as plain sums in f32 give it.
fn product(cpu: &Cpu, rows: usize, inputs: usize, outputs: usize) -> (Vec<f32>, Vec<f32>) {
    let (x, weights) = (numbers(rows * inputs, 2), numbers(outputs * inputs, 1));
    let x = Rows { width: inputs, data: x };
    let mut out = cpu.rows(outputs);
    cpu.linear(&x, &cpu.matrix(&weights, inputs), &mut out);
    let expected = (0..rows * outputs).map(|index| {
        let weights = &weights[index % outputs * inputs..][..inputs];
        x.row(index / outputs).iter().zip(weights).fold(0.0, |sum, (x, w)| sum + x * w)
    });
    (out.data, expected.collect())
}

/// The squared difference as a share of the squared expectation.
fn error(out: &[f32], expected: &[f32]) -> f64 {
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>();
    let mut differences = out.iter().zip(expected).map(|(a, b)| f64::from(a - b));
    squares(&mut differences) / squares(&mut expected.iter().map(|number| f64::from(*number)))
}

#[test]
fn a_product_in_f32_is_the_plain_sum_in_order_at_every_width_and_tiling() {
    for width in widths() {
        let cpu = Cpu { width, ..Cpu::new(2) };
        for rows in [1, 2, 3, 8, 21, 30] {
            let (out, expected) = product(&cpu, rows, 37, 70);
            assert_eq!(out, expected, "{rows} rows, {width:?}");
        }
    }
}

#[test]
fn a_product_in_fewer_bits_is_near_and_the_same_at_every_width() {
    for (format, error_max) in [(Format::Bf16, 2e-5), (Format::Int8, 5e-4)] {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 37, 70), (5, 64, 32), (13, 515, 33), (40, 96, 129), (3, 2048, 31)] {
            let outs: Vec<Vec<f32>> = widths()
                .into_iter()
                .map(|width| {
                    let cpu = Cpu { width, ..Cpu::new(3).in_format(format) };
                    let (out, expected) = product(&cpu, rows, inputs, outputs);
                    let error = error(&out, &expected);
                    assert!(error < error_max, "{format:?} {rows} x {inputs} x {outputs}, {width:?}: {error:e}");
                    out
                })
                .collect();
            assert!(outs.windows(2).all(|pair| pair[0] == pair[1]), "{format:?} {rows} x {inputs} x {outputs}");
        }
    }
}

#[test]
fn rows_come_out_the_same_in_any_company_and_with_any_number_of_threads() {
    let (inputs, outputs, count) = (200, 300, 67);
    let (all, weights) = (numbers(count * inputs, 5), numbers(outputs * inputs, 6));
    for format in FORMATS {
        let mut together = Vec::new();
        for threads in [1, 2, 5] {
            let cpu = Cpu::new(threads).in_format(format);
            let matrix = cpu.matrix(&weights, inputs);
            let linear = |numbers: &[f32]| {
                let mut out = cpu.rows(outputs);
                cpu.linear(&Rows { width: inputs, data: numbers.to_vec() }, &matrix, &mut out);
                out.data
            };
            let whole = linear(&all);
            for rows in [1, 2, 7, 12, 13, 25] {
                let pieces: Vec<f32> = all.chunks(rows * inputs).flat_map(linear).collect();
                assert!(pieces == whole, "{format:?}, {threads} threads, {rows} rows at once");
            }
            together.push(whole);
        }
        assert!(together.windows(2).all(|pair| pair[0] == pair[1]), "{format:?}");
    }
}

#[test]
fn attention_is_the_same_at_every_width() {
    for (format, seed) in FORMATS.into_iter().flat_map(|format| (1..=60).map(move |seed| (format, seed))) {
        for attend in [accuracy::latent_attention, accuracy::grouped_attention] {
            let attend = |width| attend(&Cpu { width, ..Cpu::new(1).in_format(format) }, &mut accuracy::Numbers(seed)).0;
            let outs: Vec<Vec<f32>> = widths().into_iter().map(attend).collect();
            assert!(outs.windows(2).all(|pair| pair[0] == pair[1]), "{format:?}, {seed}");
        }
    }
}

#[test]
fn experts_answer_as_their_parts_do_and_may_have_no_rows() {
    let (hidden, intermediate, count, per_token) = (70, 37, 29, 2);
    for (format, error_max) in [(Format::F32, 1e-12), (Format::Bf16, 5e-5), (Format::Int8, 5e-4)] {
        let experts = |cpu: &Cpu| -> Vec<Expert<Cpu>> {
            let expert = |seed| Expert {
                gate: cpu.matrix(&numbers(intermediate * hidden, seed), hidden),
                up: cpu.matrix(&numbers(intermediate * hidden, seed + 25), hidden),
                down: cpu.matrix(&numbers(hidden * intermediate, seed + 50), intermediate),
            };
            (10..15).map(expert).collect()
        };
        let x = Rows { width: hidden, data: numbers(count * hidden, 3).iter().map(|x| x * 4.0).collect() };
        // Nobody goes to expert 3, and the last row's experts are its own.
        let chosen = |row: usize| if row + 1 == count { [2, 4] } else { [row % 2, 2] };
        let routes = Routes::given(per_token, (0..count).flat_map(chosen).collect(), numbers(count * per_token, 8));
        let run = |threads| {
            let cpu = Cpu::new(threads).in_format(format);
            let mut out = Rows { width: hidden, data: vec![0.0; count * hidden] };
            cpu.experts_add(&x, &routes, &experts(&cpu), &mut out);
            out.data
        };
        let out = run(1);
        assert!(out == run(4), "{format:?}");

        let plain = Cpu::new(1);
        let mut expected = vec![0.0; count * hidden];
        for (row, expected) in expected.chunks_exact_mut(hidden).enumerate() {
            for (place, expert) in chosen(row).into_iter().enumerate() {
                let (mut gates, mut gated, mut answer) = (plain.rows(intermediate), plain.rows(intermediate), plain.rows(hidden));
                let (x, Expert { gate, up, down }) = (Rows { width: hidden, data: x.row(row).to_vec() }, &experts(&plain)[expert]);
                plain.linear(&x, gate, &mut gates);
                plain.linear(&x, up, &mut gated);
                gated.data.iter_mut().zip(&gates.data).for_each(|(up, gate)| *up *= gate * sigmoid(*gate));
                plain.linear(&gated, down, &mut answer);
                let weight = numbers(count * per_token, 8)[row * per_token + place];
                expected.iter_mut().zip(&answer.data).for_each(|(expected, answer)| *expected += answer * weight);
            }
        }
        assert!(error(&out, &expected) < error_max, "{format:?}: {:e}", error(&out, &expected));
    }
}

#[test]
fn a_row_of_a_matrix_reads_back_as_it_was_packed() {
    let weights = numbers(40 * 37, 9);
    for (format, error_max) in [(Format::F32, 1e-30), (Format::Bf16, 1e-5), (Format::Int8, 1e-4)] {
        let mut row = vec![0.0; 37];
        Cpu::new(2).in_format(format).matrix(&weights, 37).copy_row(35, &mut row);
        assert!(error(&row, &weights[35 * 37..36 * 37]) < error_max, "{format:?}");
    }
}

for_every_width! {
    fn exponentials(x: &[f32], out: &mut [f32]) = |x: &[f32], out: &mut [f32]| {
        for (x, out) in x.iter().zip(out) {
            *out = exp(*x);
        }
    }
}

#[test]
fn the_exponential_is_right_to_two_units_in_the_last_place_and_the_same_at_every_width() {
    let x: Vec<f32> = (-8_600..8_700).map(|step| step as f32 / 100.0).collect();
    for width in widths() {
        let mut out = vec![0.0; x.len()];
        exponentials(width, &x, &mut out);
        for (x, out) in x.iter().zip(&out) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(*out) / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {out}");
            assert_eq!(out.to_bits(), exp(*x).to_bits());
        }
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn norms_are_the_same_at_every_width() {
    let (x, weight) = (numbers(77, 3), numbers(77, 4));
    let results: Vec<Vec<f32>> = widths()
        .into_iter()
        .map(|width| {
            let mut out = vec![0.0; 77];
            vector::rms_norm(width, &x, &weight, 1e-6, &mut out);
            out
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    let mean = x.iter().map(|x| x * x).sum::<f32>() / 77.0;
    assert!((results[0][5] - x[5] / mean.sqrt() * weight[5]).abs() < 1e-4);
}

#[test]
fn a_panic_on_a_compute_thread_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = Pool::new(3);
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.split(usize::MAX, 0..30, |task| assert!(task != 17, "task 17"));
    }));
    assert!(broken.is_err());
    let sum = std::sync::atomic::AtomicUsize::new(0);
    pool.split(usize::MAX, 0..100, |task| {
        sum.fetch_add(task, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 4950);
}
