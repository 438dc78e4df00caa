//! The kernels against the sums they stand for, at every vector width of this machine.

use super::*;
use crate::backend::cpu::vector::{exp, for_every_width};

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

#[test]
fn a_product_is_the_plain_sum_in_order_at_every_width_and_tiling() {
    let (inputs, outputs) = (37, 70);
    let weights = numbers(outputs * inputs, 1);
    let matrix = Matrix::pack(&weights, inputs);
    for rows in [1, 2, 3, 8, 21] {
        let x = numbers(rows * inputs, 2);
        let mut expected = vec![0.0f32; rows * outputs];
        for (index, out) in expected.iter_mut().enumerate() {
            let (x, w) = (&x[index / outputs * inputs..][..inputs], &weights[index % outputs * inputs..][..inputs]);
            *out = x.iter().zip(w).fold(0.0, |sum, (x, w)| sum + x * w);
        }
        for width in widths() {
            let mut out = vec![0.0; rows * outputs];
            matrix::multiply_add(width, Strided::packed(&x, inputs), matrix.all(), &mut out, outputs);
            assert_eq!(out, expected, "{rows} rows, {width:?}");
        }
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
