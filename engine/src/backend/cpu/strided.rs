//! Products of f32 rows that lie in memory as they are, for attention: its operands are cached, not packed.

/// Numbers side by side in registers: one for each of as many heads or channels.
pub(super) const LANES: usize = 16;

pub(super) type Lanes = [f32; LANES];

/// Rows that lie `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) count: usize,
    pub(super) stride: usize,
    pub(super) data: &'a [f32],
}

impl<'a> Strided<'a> {
    /// Rows that touch.
    pub(super) fn packed(data: &'a [f32], width: usize) -> Strided<'a> {
        Strided { count: data.len() / width, stride: width, data }
    }

    /// Some neighbouring rows, and what follows them.
    #[inline(always)]
    pub(super) fn rows<const N: usize>(&self, first: usize) -> [&'a [f32]; N] {
        std::array::from_fn(
            #[inline(always)]
            |row| &self.data[(first + row) * self.stride..],
        )
    }

    /// The same rows without their first numbers.
    pub(super) fn skip(self, numbers: usize) -> Strided<'a> {
        Strided { data: &self.data[numbers..], ..self }
    }
}

/// Adds the products of some rows with one panel to sums in registers.
#[inline(always)]
pub(super) fn tile<'a, const TILE: usize, const WIDTH: usize>(
    mut sums: [[f32; WIDTH]; TILE],
    rows: [&[f32]; TILE],
    panel: impl ExactSizeIterator<Item = &'a [f32; WIDTH]>,
) -> [[f32; WIDTH]; TILE] {
    let inputs = panel.len();
    let rows = rows.map(|row| &row[..inputs]);
    for (input, weights) in panel.enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[input];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    sums
}
