//! What the benchmarks measure beside whole engines: the products inside, and what the processor could do at most.

pub use crate::backend::cpu::bench::{GroupedProduct, peak};
