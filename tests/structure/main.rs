//! The rules of structure, as a machine sees them: which crate may use which, no dead files, a sentence on top of each file.

mod sources;

use std::collections::BTreeSet;

use sources::{crate_folders, dependencies, files_with_extension, reachable, read, relative, roots, workspace};

/// Who may depend on which crate of ours. `cli` and `tests` may use all.
const ARROWS: [(&str, &[&str]); 6] = [
    ("domain", &[]),
    ("engine", &[]),
    ("backing", &["domain"]),
    ("producer", &["domain", "backing"]),
    ("consumer", &["domain", "backing", "engine"]),
    ("xtask", &[]),
];

#[test]
fn crates_depend_only_along_the_arrows() {
    let ours: BTreeSet<String> = crate_folders().iter().map(|folder| relative(folder)).collect();
    for (name, allowed) in ARROWS {
        for used in dependencies(name).intersection(&ours) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
    }
    let known: BTreeSet<String> = ARROWS.iter().map(|(name, _)| *name).chain(["cli", "tests"]).map(str::to_owned).collect();
    assert_eq!(ours, known, "a new crate needs its arrows here and in ARCHITECTURE.md");
}

#[test]
fn every_source_file_belongs_to_a_module() {
    for folder in crate_folders() {
        let reached = reachable(&roots(&folder));
        let all: BTreeSet<_> = files_with_extension(&folder, "rs").into_iter().collect();
        let dead: Vec<_> = all.difference(&reached).map(|file| relative(file)).collect();
        assert!(dead.is_empty(), "no module mentions {dead:?}");
    }
}

#[test]
fn every_source_file_says_what_it_is_and_no_module_is_a_mod_rs() {
    let files: Vec<_> = crate_folders().iter().flat_map(|folder| files_with_extension(folder, "rs")).collect();
    let silent: Vec<_> = files.iter().filter(|file| !read(file).starts_with("//! ")).map(|file| relative(file)).collect();
    assert!(silent.is_empty(), "no sentence on top of {silent:?}");
    let unnamed: Vec<_> = files.iter().filter(|file| file.ends_with("mod.rs")).map(|file| relative(file)).collect();
    assert!(unnamed.is_empty(), "not named after their module: {unnamed:?}");
}

#[test]
fn only_the_command_line_reads_the_environment() {
    for (name, _) in ARROWS {
        for file in files_with_extension(&workspace().join(name).join("src"), "rs") {
            let text = read(&file);
            let outside_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            let is_test = file.ends_with("tests.rs") || relative(&file).contains("/tests/");
            assert!(is_test || !outside_tests.contains("env::var"), "{} reads the environment; only cli does", relative(&file));
        }
    }
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let text = read(&workspace().join("ARCHITECTURE.md"));
    let named: Vec<&str> = text.split('`').filter(|word| word.contains("/src/") && word.ends_with(".rs")).collect();
    assert!(named.len() >= 20, "the ten steps name their files");
    for file in named {
        assert!(workspace().join(file).is_file(), "ARCHITECTURE.md names {file}, which does not exist");
    }
}
