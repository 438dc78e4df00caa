//! Runs every kernel on the host under an emulator and compares it with plain sums: `engine/kernels/emulator`.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::kernels::{Launch, Sources};

/// Addresses out of bounds, misaligned accesses and undefined arithmetic end the run.
const OPTIONS: [&str; 9] = [
    "-std=c++20",
    "-O1",
    "-g1",
    "-DEMULATOR",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wno-unknown-pragmas",
    "-fno-omit-frame-pointer",
    "-fno-strict-aliasing",
];

/// Builds and runs the tests, those whose name contains `name`.
pub(crate) fn run(workspace: &Path, name: &str) -> Result<()> {
    let sources = Sources::read(workspace)?;
    let folder = workspace.join("target/emulator");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("launches.h"), launches(&sources))?;
    let tests = tests(&sources.folder.join("emulator"))?;
    let objects: Vec<_> = tests.iter().map(|test| folder.join(test.file_stem().unwrap_or_default()).with_extension("o")).collect();
    let object = |test: &Path, object: &Path| compile(&folder, &sources.folder, &[Path::new("-c"), test, Path::new("-o"), object]);
    thread::scope(|scope| {
        let compilers: Vec<_> = tests.iter().zip(&objects).map(|(test, file)| scope.spawn(|| object(test, file))).collect();
        compilers.into_iter().try_for_each(|compiler| compiler.join().map_err(|_| anyhow!("a compiler's thread ended"))?)
    })?;
    let program = folder.join("emulator");
    let mut arguments: Vec<&Path> = objects.iter().map(PathBuf::as_path).collect();
    arguments.extend([Path::new("-o"), &program]);
    compile(&folder, &sources.folder, &arguments)?;
    let status = Command::new(&program).arg(name).env("ASAN_OPTIONS", "detect_leaks=0").status().context("the emulator does not start")?;
    ensure!(status.success(), "the emulator found a fault: {status}");
    Ok(())
}

fn tests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "cpp"));
    files.sort();
    Ok(files)
}

/// What the launch lines say, for the tests.
fn launches(sources: &Sources) -> String {
    let mut text = "#pragma once\n#include \"emulator/device.h\"\n".to_owned();
    let mut names = Vec::new();
    for Launch { kernel, threads, shared_bytes, .. } in sources.files.iter().flat_map(|file| &file.launches) {
        let _ = writeln!(text, "constexpr Launch launch_{kernel}{{\"{kernel}\", {threads}, {shared_bytes}}};");
        names.push(format!("\"{kernel}\""));
    }
    let _ = writeln!(text, "constexpr const char* KERNELS[]{{{}}};", names.join(", "));
    text
}

fn compile(folder: &Path, kernels: &Path, arguments: &[&Path]) -> Result<()> {
    let mut command = Command::new("g++");
    command.args(OPTIONS).arg("-I").arg(folder).arg("-I").arg(kernels).args(arguments);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("g++: {status}"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("g++ is missing: the emulator is C++20, and needs it with its sanitizers")
        }
        Err(error) => bail!("g++ does not start: {error}"),
    }
}
