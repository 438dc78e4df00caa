//! What fewer bits cost: the error of each operation against sums in f64, and millrace-nano's scores in every format on 2,000 held-out
//! documents, of which one is 0.11 to 0.2 points of its task.

use std::process::Command;

use engine::bench::operation_errors;
use tests::servers::repository;

use crate::{
    documents::{TASKS, expected, run, score},
    figures::Figures,
};

/// Times 200 documents.
const ROUNDS: &str = "10";

pub(crate) fn prove(figures: &mut Figures) {
    for error in operation_errors() {
        figures.at_most(&format!("{} in {}: NMSE", error.operation, error.format), error.nmse, error.nmse_max);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let generator = Command::new("python3").arg(repository("models/nano/held_out.py")).arg(folder.path()).arg(ROUNDS).status();
    assert!(generator.expect("python3 can be run").success(), "no documents");
    let expected = expected(folder.path());
    let [(exact, _), (bf16, _), (int8, _)] = ["f32", "bf16", "int8"].map(|dtype| run(folder.path(), &["--dtype", dtype]));
    for (task, _) in TASKS {
        let (documents, exact) = score(&exact, &expected, task);
        figures.note(&format!("{task}: right of {documents} in f32, in percent"), 100.0 * exact);
        for (dtype, answers) in [("bf16", &bf16), ("int8", &int8)] {
            let (_, right) = score(answers, &expected, task);
            figures.at_most(&format!("{task}: points that {dtype} loses"), 100.0 * (exact - right), 1.0);
        }
    }
}
