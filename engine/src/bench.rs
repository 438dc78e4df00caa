//! What the benchmarks measure beside whole engines: the products inside, how exact they are, and what the processor could do at most.

pub use crate::backend::cpu::accuracy::{OperationError, operation_errors};
pub use crate::backend::cpu::bench::{GroupedProduct, peak};
