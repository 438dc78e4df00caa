//! Runs every kernel on the host under an emulator and compares it with plain sums: `engine/kernels/emulator`.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::kernels::Sources;

/// Addresses out of bounds, misaligned accesses and undefined arithmetic end the run.
const OPTIONS: [&str; 8] = [
    "-std=c++20",
    "-O1",
    "-g1",
    "-DEMULATOR",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wno-unknown-pragmas",
    "-fno-omit-frame-pointer",
];

/// Builds and runs the tests, those whose name contains `name`.
pub(crate) fn run(workspace: &Path, name: &str) -> Result<()> {
    let sources = Sources::read(workspace)?;
    let folder = workspace.join("target/emulator");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("launches.h"), launches(&sources))?;
    let tests = tests(&sources.folder.join("emulator"))?;
    let mut objects = Vec::new();
    for test in &tests {
        let object = folder.join(test.file_stem().unwrap_or_default()).with_extension("o");
        compile(&folder, &sources.folder, &[Path::new("-c"), test, Path::new("-o"), &object])?;
        objects.push(object);
    }
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
    for launch in sources.files.iter().flat_map(|file| &file.launches) {
        let _ = writeln!(text, "constexpr Launch launch_{}{{{}, {}}};", launch.kernel, launch.threads, launch.shared_bytes);
    }
    text
}

fn compile(folder: &Path, kernels: &Path, arguments: &[&Path]) -> Result<()> {
    let mut command = Command::new("g++");
    command.args(OPTIONS).arg("-I").arg(folder).arg("-I").arg(kernels).args(arguments);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("g++: {status}"),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("g++ is missing: the emulator is C++20, and needs it with its sanitizers"),
        Err(error) => bail!("g++ does not start: {error}"),
    }
}
