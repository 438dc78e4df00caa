//! Accepting work: what these functions return `Ok` for is committed, and its bytes are stored. HTTP is one caller of them,
//! `millrace run` is another.

mod batch;
mod file;
mod single;

pub use batch::{BatchOrder, create_batch};
pub use file::{FileDraft, store_file};
pub(crate) use file::{lifetime, too_large};
pub(crate) use single::Single;

/// Files live from an hour to 30 days.
const FILE_SECONDS_MIN: i64 = 3600;
const FILE_SECONDS_MAX: i64 = 30 * 24 * 3600;
