//! The sources in `engine/kernels`, and what they say about how they are launched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::nvrtc::Target;
use crate::wheel;

/// What every file is compiled for; the names are those of folders.
pub(crate) const TARGETS: [(&str, Target); 2] = [("sm_90a", Target::Cubin), ("compute_80", Target::Ptx)];

/// All sources.
pub(crate) struct Sources {
    pub(crate) folder: PathBuf,
    /// Names with contents, sorted.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) files: Vec<File>,
}

/// One `.cu`, without the ending.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) launches: Vec<Launch>,
}

/// A line `// launch: name threads=… shared=… tile=…`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
    pub(crate) tile: u32,
}

impl Sources {
    pub(crate) fn read(workspace: &Path) -> Result<Sources> {
        let folder = workspace.join("engine/kernels");
        let mut headers = Vec::new();
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match name.split_once('.') {
                Some((_, "cuh")) => headers.push((name, fs::read_to_string(&path)?)),
                Some((stem, "cu")) => files.push(File::parse(stem, fs::read_to_string(&path)?)?),
                _ => {}
            }
        }
        headers.sort();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Sources { folder, headers, files })
    }

    /// Of all that decides what a file becomes.
    pub(crate) fn hash(&self, file: &File) -> String {
        let mut parts = vec![wheel::VERSION.to_owned()];
        for (name, target) in TARGETS {
            parts.extend(options(name, target));
        }
        parts.extend(self.headers.iter().map(|(_, content)| content.clone()));
        parts.push(file.source.clone());
        sha256(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
    }
}

impl File {
    fn parse(name: &str, source: String) -> Result<File> {
        let lines = source.lines().filter_map(|line| line.strip_prefix("// launch: "));
        let launches = lines.map(Launch::parse).collect::<Result<_>>().with_context(|| format!("{name}.cu"))?;
        Ok(File { name: name.to_owned(), source, launches })
    }

    /// The tensor cores of older GPUs know no FP8.
    pub(crate) fn exists_for(&self, target: Target) -> bool {
        target == Target::Cubin || !self.name.contains("fp8")
    }
}

impl Launch {
    fn parse(line: &str) -> Result<Launch> {
        let mut words = line.split_whitespace();
        let kernel = words.next().context("a launch line names a kernel")?.to_owned();
        let mut launch = Launch { kernel, threads: 0, shared_bytes: 0, tile: 0 };
        for word in words {
            let (key, value) = word.split_once('=').with_context(|| format!("{word} is not key=value"))?;
            let place = match key {
                "threads" => &mut launch.threads,
                "shared" => &mut launch.shared_bytes,
                "tile" => &mut launch.tile,
                _ => bail!("{key} is not threads, shared or tile"),
            };
            *place = value.parse().with_context(|| word.to_owned())?;
        }
        Ok(launch)
    }
}

/// The compiler's options for a target.
pub(crate) fn options(name: &str, target: Target) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={name}"), "--std=c++17".to_owned(), "--extra-device-vectorization".to_owned()];
    if target == Target::Cubin {
        options.push("--ptxas-options=-v".to_owned());
    }
    options
}

/// Of all parts, each with its length, in hexadecimal digits.
pub(crate) fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        if parts.len() > 1 {
            hash.update((part.len() as u64).to_le_bytes());
        }
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
