//! Kernels to machine code for the H100 and to PTX for older GPUs, with a manifest and a table. What is built is committed, since a build
//! needs the compiler's wheel and nothing else of the project does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::kernels::{Sources, TARGETS, options, sha256};
use crate::manifest::{Compiled, Kernel, Manifest};
use crate::nvrtc::{Nvrtc, Target};
use crate::wheel;

/// All prebuilt files together; they lie in the binary.
const BYTES_MAX: usize = 10 << 20;

/// What a build writes: paths in the workspace, with contents.
struct Built {
    manifest: Manifest,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Builds all and writes it.
pub(crate) fn build(workspace: &Path) -> Result<()> {
    let built = Built::new(workspace)?;
    for target in TARGETS {
        let folder = workspace.join("engine/kernels/prebuilt").join(target.0);
        fs::remove_dir_all(&folder).or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        fs::create_dir_all(&folder)?;
    }
    for (path, bytes) in &built.files {
        fs::write(workspace.join(path), bytes)?;
    }
    println!("{}", built.manifest.table());
    built.no_spills()
}

/// Compares what is committed with the sources, and, where the compiler can be had, with what they compile to.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    check_hashes(workspace)?;
    match wheel::libraries(workspace) {
        Err(error) => println!("hashes are right; nothing was compiled, as the compiler cannot be had: {error:#}"),
        Ok(_) => {
            let built = Built::new(workspace)?;
            for (path, bytes) in &built.files {
                let committed = fs::read(workspace.join(path)).with_context(|| path.display().to_string())?;
                ensure!(&committed == bytes, "{} is not what the sources compile to: run xtask cubin", path.display());
            }
            built.no_spills()?;
            println!("{} files are what the sources compile to, and nothing spills", built.files.len());
        }
    }
    Ok(())
}

/// Without the compiler: the manifest belongs to the sources, and the prebuilt files to the manifest.
fn check_hashes(workspace: &Path) -> Result<()> {
    let sources = Sources::read(workspace)?;
    let manifest = fs::read(sources.folder.join("manifest.json")).context("engine/kernels/manifest.json")?;
    let manifest: Manifest = serde_json::from_slice(&manifest).context("engine/kernels/manifest.json")?;
    ensure!(manifest.nvrtc == wheel::VERSION, "manifest.json is of NVRTC {}: run xtask cubin", manifest.nvrtc);
    for file in &sources.files {
        let compiled = manifest.files.get(&file.name).with_context(|| format!("manifest.json lacks {}.cu: run xtask cubin", file.name))?;
        ensure!(compiled.source_sha256 == sources.hash(file), "{}.cu or a header has changed: run xtask cubin", file.name);
        for (target, hash) in &compiled.sha256 {
            let path = prebuilt(&file.name, target);
            let bytes = fs::read(workspace.join(&path)).with_context(|| path.display().to_string())?;
            ensure!(&sha256(&[&bytes]) == hash, "{} is not the file of the manifest: run xtask cubin", path.display());
        }
    }
    ensure!(manifest.files.len() == sources.files.len(), "manifest.json has files without a source: run xtask cubin");
    let table = fs::read_to_string(workspace.join("docs/kernels.md")).context("docs/kernels.md")?;
    ensure!(table == manifest.table(), "docs/kernels.md is not the table of the manifest: run xtask cubin");
    Ok(())
}

fn prebuilt(file: &str, target: &str) -> PathBuf {
    let ending = if target.starts_with("sm_") { "cubin" } else { "ptx" };
    Path::new("engine/kernels/prebuilt").join(target).join(format!("{file}.{ending}"))
}

impl Built {
    fn new(workspace: &Path) -> Result<Built> {
        let nvrtc = Nvrtc::open(&wheel::libraries(workspace)?)?;
        let sources = Sources::read(workspace)?;
        let mut manifest = Manifest { nvrtc: wheel::VERSION.to_owned(), files: BTreeMap::new(), kernels: BTreeMap::new() };
        let mut files = BTreeMap::new();
        for file in &sources.files {
            let mut hashes = BTreeMap::new();
            for (target, kind) in TARGETS.into_iter().filter(|(_, kind)| file.exists_for(*kind)) {
                let name = format!("{}.cu", file.name);
                let (bytes, log) = nvrtc.compile(&name, &file.source, &sources.headers, &options(target, kind), kind)?;
                if kind == Target::Cubin {
                    for launch in &file.launches {
                        manifest.kernels.insert(launch.kernel.clone(), Kernel::new(&file.name, launch, &log)?);
                    }
                    let entries = log.matches("Compiling entry function '").count();
                    ensure!(entries == file.launches.len(), "{name} has {entries} kernels and {} launch lines", file.launches.len());
                }
                hashes.insert(target.to_owned(), sha256(&[&bytes]));
                files.insert(prebuilt(&file.name, target), bytes);
            }
            manifest.files.insert(file.name.clone(), Compiled { source_sha256: sources.hash(file), sha256: hashes });
        }
        let bytes: usize = files.values().map(Vec::len).sum();
        ensure!(bytes <= BYTES_MAX, "the prebuilt files are {bytes} bytes, allowed are {BYTES_MAX}");
        files.insert("engine/kernels/manifest.json".into(), [serde_json::to_vec_pretty(&manifest)?, b"\n".to_vec()].concat());
        files.insert("docs/kernels.md".into(), manifest.table().into_bytes());
        Ok(Built { manifest, files })
    }

    fn no_spills(&self) -> Result<()> {
        let spilling: Vec<_> = self.manifest.kernels.iter().filter(|(_, kernel)| kernel.spill_bytes > 0).map(|(name, _)| name).collect();
        ensure!(spilling.is_empty(), "registers spill in {spilling:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prebuilt_kernels_belong_to_the_sources() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        check_hashes(workspace).expect("manifest, sources, prebuilt files and table agree");
    }
}
