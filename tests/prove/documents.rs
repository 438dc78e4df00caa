//! `millrace run` on the shipped documents with the shipped model, compared with the expected answers: JSON as values, the rest as text.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    process::Stdio,
};

use serde_json::Value;
use tests::{process::millrace, servers::repository};

use crate::figures::Figures;

/// Tasks, as the ids begin, and the share of equal answers that is claimed.
const TASKS: [(&str, f64); 3] = [("extract", 0.95), ("classify", 0.95), ("summarise", 0.90)];

pub(crate) fn prove(figures: &mut Figures) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.jsonl");
    let mut command = millrace(&BTreeMap::new());
    command.arg("run").arg(repository("examples/documents.jsonl")).arg("-o").arg(&output).arg("--json").stdin(Stdio::null());
    let run = command.output().expect("the binary can be run");
    assert!(run.status.success(), "the run failed: {}", String::from_utf8_lossy(&run.stderr));
    let summary: Value = serde_json::from_slice(&run.stdout).expect("a summary in JSON");
    let seconds = |name: &str| summary[name].as_f64().expect("a number of seconds");
    figures.note("seconds", seconds("seconds"));
    figures.at_most("share of them outside the engine", 1.0 - seconds("engine_seconds") / seconds("seconds"), 0.01);

    let answers: HashMap<String, String> = lines(&output).into_iter().map(|line| (text(&line["custom_id"]), answer(&line))).collect();
    let expected = lines(&repository("examples/documents.expected.jsonl"));
    figures.at_least("documents answered", answers.len() as f64, expected.len() as f64);
    for (task, goal) in TASKS {
        let of_task: Vec<_> = expected.iter().filter(|line| text(&line["custom_id"]).starts_with(task)).collect();
        assert!(!of_task.is_empty(), "no document asks to {task}");
        let equal = of_task.iter().filter(|line| is_expected(&answers[&text(&line["custom_id"])], &line["expected"])).count();
        figures.at_least(&format!("{task}: share equal to the expected answer"), equal as f64 / of_task.len() as f64, goal);
    }
}

fn is_expected(answer: &str, expected: &Value) -> bool {
    match expected {
        Value::String(expected) => answer == expected,
        expected => serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer == *expected),
    }
}

fn answer(line: &Value) -> String {
    line["response"]["body"]["choices"][0]["message"]["content"].as_str().unwrap_or_default().trim().to_owned()
}

fn lines(file: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
