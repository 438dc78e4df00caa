//! The workspace as files: crates, their dependencies, and which source files their modules reach. Knows no rules.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// The folders of all crates.
pub(crate) fn crate_folders() -> Vec<PathBuf> {
    let folders = fs::read_dir(workspace()).expect("the workspace can be read");
    let mut crates: Vec<_> =
        folders.map(|entry| entry.expect("an entry").path()).filter(|path| path.join("Cargo.toml").is_file()).collect();
    crates.sort();
    crates
}

/// A path as it reads from the workspace.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}

/// The text of a source file or manifest.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The names in all dependency tables of a crate's manifest, those of tests and build scripts included.
pub(crate) fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = read(&workspace().join(name).join("Cargo.toml"));
    let mut names = BTreeSet::new();
    let mut listed = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            listed = table.ends_with("dependencies]");
            // The long form: [dependencies.NAME]
            if let Some((_, name)) = table.trim_end_matches(']').split_once("dependencies.") {
                names.insert(name.to_owned());
            }
        } else if listed && let Some(name) = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty() && !name.starts_with('#')) {
            names.insert(name.to_owned());
        }
    }
    names
}

/// All files below a folder with an extension.
pub(crate) fn files_with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_with_extension(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files
}

/// The files from which cargo compiles a crate: the usual ones and those that its manifest names.
pub(crate) fn roots(folder: &Path) -> Vec<PathBuf> {
    let manifest = read(&folder.join("Cargo.toml"));
    let named = manifest.lines().filter_map(|line| line.trim().strip_prefix("path = \"")?.strip_suffix("\""));
    let mut roots: Vec<_> = ["src/lib.rs", "src/main.rs", "build.rs"].into_iter().chain(named).map(|path| folder.join(path)).collect();
    for targets in ["src/bin", "tests", "benches", "examples"] {
        let entries = fs::read_dir(folder.join(targets)).into_iter().flatten();
        // A target is a file, or a folder with a main.rs.
        roots.extend(entries.map(|entry| entry.expect("an entry").path()).flat_map(|path| [path.join("main.rs"), path]));
    }
    roots.retain(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rs"));
    roots
}

/// The roots and every file their modules lead to: by `mod NAME;`, or by a `#[path = "FILE"]` before it.
pub(crate) fn reachable(roots: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<(PathBuf, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((file, is_root)) = open.pop() {
        let text = read(&file);
        let beside = file.parent().expect("a file has a folder").to_owned();
        let below = if is_root { beside.clone() } else { file.with_extension("") };
        let by_name = text.lines().filter_map(declared_module).map(|name| below.join(name).with_extension("rs"));
        let by_path =
            text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")).map(|path| beside.join(path));
        open.extend(by_name.chain(by_path).filter(|child| child.is_file() && !reached.contains(child)).map(|child| (child, false)));
        reached.insert(file);
    }
    reached
}

fn declared_module(line: &str) -> Option<&str> {
    let words = line.trim().strip_suffix(';')?;
    let (visibility, name) = words.rsplit_once("mod ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
}
