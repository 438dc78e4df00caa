//! The sums of a row with a panel become f32, whose bits take their places, and go to their cells.

use crate::backend::cpu::vector::{Width, for_every_width, sigmoid};

for_every_width! {
    /// Int8: `surplus` is what the offset of activations has added; a sum is so many of the row's steps times those of the outputs.
    fn scale(sums: &mut [u32], surplus: &[u32], output_steps: &[u32], step: f32) = scale_body
}

#[inline(always)]
fn scale_body(sums: &mut [u32], surplus: &[u32], output_steps: &[u32], step: f32) {
    for ((sum, surplus), output_step) in sums.iter_mut().zip(surplus).zip(output_steps) {
        let value = sum.wrapping_sub(*surplus).cast_signed() as f32 * (f32::from_bits(*output_step) * step);
        *sum = value.to_bits();
    }
}

for_every_width! {
    /// `out = sums`
    fn put(sums: &[u32], out: &mut [f32]) = put_body
}

#[inline(always)]
fn put_body(sums: &[u32], out: &mut [f32]) {
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = f32::from_bits(*sum));
}

for_every_width! {
    /// `out += weight * sums`
    fn add(sums: &[u32], weight: f32, out: &mut [f32]) = add_body
}

#[inline(always)]
fn add_body(sums: &[u32], weight: f32, out: &mut [f32]) {
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += f32::from_bits(*sum) * weight);
}

for_every_width! {
    /// `out = silu(gates) * ups`
    fn put_gated(gates: &[u32], ups: &[u32], out: &mut [f32]) = put_gated_body
}

#[inline(always)]
fn put_gated_body(gates: &[u32], ups: &[u32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
        let gate = f32::from_bits(*gate);
        *out = gate * sigmoid(gate) * f32::from_bits(*up);
    }
}
