//! What needs doing beside building: kernels to machine code, and kernels proved right without a GPU.
//!
//! `cargo run -p xtask -- cubin [--check]` and `cargo run -p xtask -- emulate [NAME]`

mod cubin;
mod emulate;
mod kernels;
mod manifest;
mod nvrtc;
mod occupancy;
mod wheel;

use std::env;
use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cubin"] => cubin::build(workspace),
        ["cubin", "--check"] => cubin::check(workspace),
        ["emulate"] => emulate::run(workspace, ""),
        ["emulate", name] => emulate::run(workspace, name),
        _ => bail!("usage: xtask cubin [--check] | xtask emulate [NAME]"),
    }
}
