//! Arithmetic on single rows, compiled once for each vector width. There is no fused multiply-add and every sum has a
//! fixed shape, so all widths give the same bits.

/// Partial sums that a sum over a row keeps, whatever the registers hold.
const LANES: usize = 16;

/// The vector registers of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Width {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Width {
    pub(super) fn detect() -> Width {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Width::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Width::Avx2;
            }
        }
        Width::Portable
    }
}

/// Defines a function that runs one of three compilations of the same inlined body. The bodies may differ only in how
/// many rows they take at once.
macro_rules! for_every_width {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $portable:expr, $avx2:expr, $avx512:expr) => {
        $(#[$doc])*
        pub(super) fn $name(width: Width, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) {
                $avx2($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl")]
            fn avx512($($argument: $type),*) {
                $avx512($($argument),*);
            }
            match width {
                Width::Portable => $portable($($argument),*),
                // SAFETY: `Width::detect` has seen the feature.
                #[cfg(target_arch = "x86_64")]
                Width::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Width::Avx512 => unsafe { avx512($($argument),*) },
            }
        }
    };
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:expr) => {
        $crate::backend::cpu::vector::for_every_width! {
            $(#[$doc])* fn $name($($argument: $type),*) = $body, $body, $body
        }
    };
}
pub(super) use for_every_width;

for_every_width! {
    /// `out = x / rms(x) * weight`
    fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) = rms_norm_body
}

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = 1.0 / (sum_of_squares(x) / x.len() as f32 + epsilon).sqrt();
    for ((x, weight), out) in x.iter().zip(weight).zip(out) {
        *out = x * scale * weight;
    }
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x` to within two units in the last place, from additions and multiplications alone: unlike the system's, it is
/// vectorised, and the same on every machine.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves a whole number in the low bits
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        series = series * rest + coefficient;
    }
    let fraction = series * rest * rest + rest + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    fraction * power
}

/// The sum of all squares: sixteen partial sums, added in pairs at the end.
#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x * x;
    }
    add_in_pairs(sums)
}

/// The sum of all lanes, in a fixed shape.
#[inline(always)]
pub(super) fn add_in_pairs(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}
