//! `manifest.json`: what was compiled from what, and what each kernel takes. The engine reads from it how to launch; `docs/kernels.md` shows it.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kernels::Launch;
use crate::occupancy;

/// All files and kernels, by name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) nvrtc: String,
    pub(crate) files: BTreeMap<String, Compiled>,
    pub(crate) kernels: BTreeMap<String, Kernel>,
}

/// One file: the hash of its source, headers and options, and those of what it became, by target.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compiled {
    pub(crate) source_sha256: String,
    pub(crate) sha256: BTreeMap<String, String>,
}

/// How to launch a kernel, and what it takes on sm_90a.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) file: String,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
    pub(crate) tile: u32,
    pub(crate) registers: u32,
    pub(crate) spill_bytes: u32,
    pub(crate) static_shared_bytes: u32,
    pub(crate) blocks_per_sm: u32,
}

impl Kernel {
    /// From the assembler's remarks on it.
    pub(crate) fn new(file: &str, launch: &Launch, log: &str) -> Result<Kernel> {
        let section = log.split("Compiling entry function '").find_map(|section| section.strip_prefix(&format!("{}'", launch.kernel)));
        let section = section.with_context(|| format!("{file}.cu has no kernel {}", launch.kernel))?;
        let number = |after: &str| before(section, after).unwrap_or(0);
        let (registers, static_shared_bytes) = (number(" registers"), number(" bytes smem"));
        let shared_bytes = launch.shared_bytes + static_shared_bytes;
        Ok(Kernel {
            file: file.to_owned(),
            threads: launch.threads,
            shared_bytes: launch.shared_bytes,
            tile: launch.tile,
            registers,
            spill_bytes: number(" bytes spill stores") + number(" bytes spill loads"),
            static_shared_bytes,
            blocks_per_sm: occupancy::blocks(launch.threads, registers, shared_bytes),
        })
    }
}

/// The number that stands before some words.
fn before(text: &str, words: &str) -> Option<u32> {
    let end = text.find(words)?;
    text[..end].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Manifest {
    /// The table of `docs/kernels.md`.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "# Kernels on an H100\n\nWritten by `cargo run -p xtask -- cubin` from `engine/kernels/manifest.json` (NVRTC {}, sm_90a). Registers are those of a \
             thread, shared memory that of a block (dynamic + static), occupancy what fits on a multiprocessor.\n\n\
             | kernel | file | threads | registers | spilled bytes | shared bytes | blocks | occupancy |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
            self.nvrtc
        );
        for (name, kernel) in &self.kernels {
            let Kernel { file, threads, registers, spill_bytes, shared_bytes, static_shared_bytes, blocks_per_sm, .. } = kernel;
            let percent = occupancy::percent(*threads, *blocks_per_sm);
            let _ = writeln!(
                table,
                "| `{name}` | {file}.cu | {threads} | {registers} | {spill_bytes} | {shared_bytes} + {static_shared_bytes} | {blocks_per_sm} | {percent} % |"
            );
        }
        table
    }
}
