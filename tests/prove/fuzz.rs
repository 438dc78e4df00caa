//! The fuzz targets of the engine (engine/tests/fuzz), each for half an hour unless `MILLRACE_FUZZ_SECONDS` says otherwise.

use std::process::Command;

use tests::servers::repository;

use crate::figures::Figures;

const SECONDS: &str = "1800";
const TARGETS: f64 = 5.0;

pub(crate) fn prove(figures: &mut Figures) {
    let seconds = std::env::var("MILLRACE_FUZZ_SECONDS").unwrap_or_else(|_| SECONDS.to_owned());
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--workspace", "--test", "fuzz", "--", "--nocapture"]);
    let output = command.current_dir(repository("")).env("MILLRACE_FUZZ_SECONDS", seconds).output().expect("cargo can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    // fuzzed NAME: N inputs, M of them accepted, S s
    let reports: Vec<_> = text.lines().filter_map(|line| line.split_once("fuzzed ")?.1.split_once(": ")).collect();
    for (file, report) in &reports {
        let numbers: Vec<f64> = report.split(' ').filter_map(|word| word.parse().ok()).collect();
        for (what, number) in ["inputs", "accepted", "seconds"].iter().zip(numbers) {
            figures.note(&format!("{file}: {what}"), number);
        }
    }
    figures.at_least("files without a panic, a hang or a lost process", reports.len() as f64, TARGETS);
    figures.at_least("the tests passed", f64::from(u8::from(output.status.success())), 1.0);
}
