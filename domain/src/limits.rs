//! Bounds on what a client may send. Each is named in the error that it causes.

/// The limits in force; the defaults are published by the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one line of a batch input file.
    pub line_bytes_max: usize,
    /// Lines of one batch input file.
    pub lines_max: u64,
    /// Bytes of a batch input file.
    pub file_bytes_max: u64,
    /// Bytes of the body of a single request.
    pub body_bytes_max: usize,
    /// Seconds of the shortest completion window.
    pub window_seconds_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line_bytes_max: 1 << 20, lines_max: 1_000_000, file_bytes_max: 200 << 20, body_bytes_max: 4 << 20, window_seconds_min: 3600 }
    }
}

/// Longest `custom_id`, in bytes.
pub const CUSTOM_ID_BYTES_MAX: usize = 512;
/// Errors listed for a refused input file; the rest is counted.
pub const BATCH_ERRORS_MAX: usize = 100;
/// Answers that one request may ask for (`n`).
pub const CHOICES_MAX: u32 = 16;
/// Attempts after which a request that keeps losing its worker is failed.
pub const ATTEMPTS_MAX: u32 = 3;
/// Bodies and results up to this size stand in the store; larger ones are objects.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
