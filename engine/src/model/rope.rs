//! Rotary positions: the tables of cosines and sines, plain or stretched by YaRN or as in Llama 3.1. Pairs lie in two halves; checkpoints
//! that interleave them are reordered at load (`mla.rs`).

use std::f64::consts::PI;

use crate::config::{Llama3, RopeConfig, Stretch, Yarn};

/// Cosines and sines for every position and pair.
pub(crate) struct Rope {
    pairs: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// The rotation of one position.
#[derive(Clone, Copy)]
pub(crate) struct Rotation<'a> {
    cosines: &'a [f32],
    sines: &'a [f32],
}

impl Rope {
    /// Tables for `positions` positions and heads of `width` rotated channels.
    pub(crate) fn new(config: &RopeConfig, width: usize, positions: usize) -> Rope {
        let frequencies = frequencies(config, width);
        let magnitude = match &config.stretch {
            Stretch::Yarn(yarn) => attention_factor(yarn) as f32,
            Stretch::None | Stretch::Llama3(_) => 1.0,
        };
        // The angle is rounded to f32 before the cosine is taken, as in transformers.
        let angles = (0..positions).flat_map(|position| frequencies.iter().map(move |f| f64::from(position as f32 * f)));
        let (cosines, sines) = angles.map(|angle| (angle.cos() as f32 * magnitude, angle.sin() as f32 * magnitude)).unzip();
        Rope { pairs: width / 2, cosines, sines }
    }

    /// Channels that are rotated.
    pub(crate) fn width(&self) -> usize {
        2 * self.pairs
    }

    pub(crate) fn at(&self, position: usize) -> Rotation<'_> {
        let pairs = position * self.pairs..(position + 1) * self.pairs;
        Rotation { cosines: &self.cosines[pairs.clone()], sines: &self.sines[pairs] }
    }
}

impl Rotation<'_> {
    /// Turns each pair `(x[i], x[i + half])`.
    pub(crate) fn rotate(&self, x: &[f32], out: &mut [f32]) {
        let half = self.cosines.len();
        for (pair, (cosine, sine)) in self.cosines.iter().zip(self.sines).enumerate() {
            let (first, second) = (x[pair], x[pair + half]);
            out[pair] = first * cosine - second * sine;
            out[pair + half] = second * cosine + first * sine;
        }
    }
}

/// What scores of latent attention are multiplied with, for queries and keys of `width` channels.
pub(crate) fn softmax_scale(config: &RopeConfig, width: usize) -> f32 {
    let plain = (width as f64).powf(-0.5);
    let stretch = match &config.stretch {
        Stretch::Yarn(Yarn { factor, mscale_all_dim: Some(scale), .. }) if *scale != 0.0 => magnitude(*factor, *scale),
        _ => 1.0,
    };
    (plain * stretch * stretch) as f32
}

/// Radians a position, for each pair.
fn frequencies(config: &RopeConfig, width: usize) -> Vec<f32> {
    let base = |pair: usize| config.theta.powf(-2.0 * pair as f64 / width as f64);
    let frequency = |pair: usize| match &config.stretch {
        Stretch::None => base(pair),
        Stretch::Llama3(llama) => slowed(llama, base(pair)),
        Stretch::Yarn(yarn) => {
            let (low, high) = ramp_bounds(yarn, config.theta, width);
            let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            base(pair) * (1.0 - ramp) + base(pair) / yarn.factor * ramp
        }
    };
    (0..width / 2).map(|pair| frequency(pair) as f32).collect()
}

/// Llama 3.1: how often the wave fits into the original context decides how much of it is slowed down.
fn slowed(llama: &Llama3, frequency: f64) -> f64 {
    let fits = llama.original_context * frequency / (2.0 * PI);
    let kept = ((fits - llama.low_frequency) / (llama.high_frequency - llama.low_frequency)).clamp(0.0, 1.0);
    frequency / llama.factor * (1.0 - kept) + frequency * kept
}

/// The pairs between which YaRN goes over from leaving frequencies alone to dividing them.
fn ramp_bounds(yarn: &Yarn, theta: f64, width: usize) -> (f64, f64) {
    let turns = |count: f64| width as f64 * (yarn.original_context / (count * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (low, high) = (turns(yarn.beta_fast), turns(yarn.beta_slow));
    let (low, high) = if yarn.truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
    if low == high { (low, high + 0.001) } else { (low, high) }
}

/// What YaRN multiplies cosines and sines with.
fn attention_factor(yarn: &Yarn) -> f64 {
    match (yarn.attention_factor, yarn.mscale, yarn.mscale_all_dim) {
        (Some(factor), _, _) => factor,
        (None, Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => magnitude(yarn.factor, scale) / magnitude(yarn.factor, all),
        _ => magnitude(yarn.factor, 1.0),
    }
}

fn magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deepseek(scale: f64) -> RopeConfig {
        RopeConfig {
            theta: 1e4,
            stretch: Stretch::Yarn(Yarn {
                factor: 40.0,
                original_context: 4096.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                mscale: Some(scale),
                mscale_all_dim: Some(scale),
                attention_factor: None,
                truncate: true,
            }),
        }
    }

    #[test]
    fn softmax_scales_are_those_published_for_v2_lite_v3_and_moonlight() {
        assert!((softmax_scale(&deepseek(0.707), 192) - 0.114_721_4).abs() < 1e-6);
        assert!((softmax_scale(&deepseek(1.0), 192) - 0.135_233_8).abs() < 1e-6);
        assert!((softmax_scale(&RopeConfig { theta: 5e4, stretch: Stretch::None }, 192) - 0.072_168_8).abs() < 1e-6);
    }

    #[test]
    fn yarn_ramps_between_pairs_ten_and_twenty_three_of_deepseek() {
        let config = deepseek(1.0);
        let Stretch::Yarn(yarn) = &config.stretch else { panic!("it is stretched by YaRN") };
        assert_eq!(ramp_bounds(yarn, 1e4, 64), (10.0, 23.0));
        let (stretched, plain) = (frequencies(&config, 64), frequencies(&RopeConfig { theta: 1e4, stretch: Stretch::None }, 64));
        assert_eq!(stretched[..=10], plain[..=10]);
        assert!((stretched[23] * 40.0 / plain[23] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn llama_slows_long_waves_by_eight_and_leaves_short_ones_alone() {
        let llama = Llama3 { factor: 8.0, original_context: 8192.0, low_frequency: 1.0, high_frequency: 4.0 };
        let wave = |fits: f64| fits * 2.0 * PI / 8192.0;
        assert_eq!(slowed(&llama, wave(0.5)), wave(0.5) / 8.0);
        assert_eq!(slowed(&llama, wave(4.5)), wave(4.5));
        assert!((slowed(&llama, wave(2.5)) / wave(2.5) - 0.5625).abs() < 1e-12);
    }
}
