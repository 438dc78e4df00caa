//! The compiler's wheel from PyPI: one version, known by its hash, kept under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::kernels::sha256;

/// Drivers of CUDA 13.0 refuse PTX of later compilers.
pub(crate) const VERSION: &str = "13.0.88";
const FILE: &str = "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl";
const SHA256: &str = "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575";

/// The folder of the compiler's libraries, fetched if it is not here yet.
pub(crate) fn libraries(workspace: &Path) -> Result<PathBuf> {
    let cache = workspace.join("target/nvrtc").join(VERSION);
    let libraries = cache.join("nvidia/cu13/lib");
    if libraries.join("libnvrtc.so.13").exists() {
        return Ok(libraries);
    }
    fs::create_dir_all(&cache)?;
    let requirement = format!("nvidia-cuda-nvrtc=={VERSION}");
    python(&cache, &["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", ".", &requirement])?;
    let bytes = fs::read(cache.join(FILE)).with_context(|| format!("pip fetched something else than {FILE}"))?;
    let hash = sha256(&[&bytes]);
    ensure!(hash == SHA256, "{FILE} has the hash {hash}, expected is {SHA256}");
    python(&cache, &["-m", "zipfile", "-e", FILE, "."])?;
    Ok(libraries)
}

fn python(folder: &Path, arguments: &[&str]) -> Result<()> {
    match Command::new("python3").args(arguments).current_dir(folder).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("python3 {}: {status}", arguments.join(" ")),
        Err(error) => bail!("python3 is needed to fetch the compiler: {error}"),
    }
}
