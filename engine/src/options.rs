//! What an engine is loaded from and how it may use the machine. What it then took is in `device.rs`.

use std::path::PathBuf;

/// Where the files of a Hugging Face model directory come from.
#[derive(Debug, Clone)]
pub enum ModelSource {
    Directory(PathBuf),
    /// File name and bytes, compiled into the binary.
    Embedded(&'static [(&'static str, &'static [u8])]),
    /// A `config.json` alone: random weights and a vocabulary of bytes, for measurements.
    Random {
        config: String,
    },
}

/// How much of the machine the engine takes. Results never depend on any of it but `dtype`.
#[derive(Debug, Clone)]
pub struct Options {
    pub device: Device,
    pub dtype: Dtype,
    /// Requests that run at once.
    pub slots_max: usize,
    /// Requests that wait inside the engine besides, so that it can choose the order in which they run.
    pub look_ahead: usize,
    /// Later requests that may be let in before one that waits; with 0 the order is that of arrival.
    pub overtaken_max: u32,
    /// Whether the beginnings of requests are kept for later ones that begin alike.
    pub prefix_cache: bool,
    /// Tokens the paged cache holds over all requests, if there is memory for them; else as many as there is.
    pub cache_tokens: usize,
    /// Tokens in one cache page; rounded up where a device computes with several at a time.
    pub page_tokens: usize,
    /// Tokens computed in one step over all requests.
    pub step_tokens_max: usize,
    /// While at most so many requests run, the model's layer for multi-token prediction drafts a token for each, so that a step may
    /// give it two; 0 makes no drafts.
    pub draft_slots_max: usize,
    /// Threads that compute; 0 takes every core.
    pub threads: usize,
    /// Where packed weights are kept, so that the next start of a model in a directory is quick. They take as much room as the model
    /// in memory, and may be removed at any time. An embedded model is packed in milliseconds, so none is kept of it.
    pub packed_cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            device: Device::Auto,
            dtype: Dtype::Auto,
            slots_max: 64,
            look_ahead: 64,
            overtaken_max: 256,
            prefix_cache: true,
            cache_tokens: 32_768,
            page_tokens: 32,
            step_tokens_max: 512,
            draft_slots_max: 2,
            threads: 0,
            packed_cache: None,
        }
    }
}

/// The device asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// CUDA where it is present and has kernels, else the CPU, and say which.
    Auto,
    Cpu,
    Cuda,
}

/// The number format of weights and activations asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Bf16 if the weights are stored in bf16 or FP8, else f32.
    Auto,
    F32,
    Bf16,
    Int8,
}
