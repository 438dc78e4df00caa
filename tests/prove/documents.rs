//! `millrace run` on the shipped documents with the shipped model, compared with the expected answers: JSON as values, the rest as text.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::Stdio,
};

use serde_json::Value;
use tests::{process::millrace, servers::repository};

use crate::figures::Figures;

/// Tasks, as the ids begin, and the share of equal answers that is claimed.
pub(crate) const TASKS: [(&str, f64); 3] = [("extract", 0.95), ("classify", 0.95), ("summarise", 0.90)];

pub(crate) fn prove(figures: &mut Figures) {
    let examples = repository("examples");
    let (answers, summary) = run(&examples, &[]);
    let seconds = |name: &str| summary[name].as_f64().expect("a number of seconds");
    figures.note("seconds", seconds("seconds"));
    figures.at_most("share of them outside the engine", 1.0 - seconds("engine_seconds") / seconds("seconds"), 0.01);
    let expected = expected(&examples);
    figures.at_least("documents answered", answers.len() as f64, expected.len() as f64);
    for (task, goal) in TASKS {
        figures.at_least(&format!("{task}: share equal to the expected answer"), score(&answers, &expected, task).1, goal);
    }
}

/// Answers by custom id, and the summary, of `millrace run` on the documents of a folder.
pub(crate) fn run(folder: &Path, options: &[&str]) -> (HashMap<String, String>, Value) {
    let place = tempfile::tempdir().expect("a folder");
    let output = place.path().join("out.jsonl");
    let mut command = millrace(&BTreeMap::new());
    command.arg("run").arg(folder.join("documents.jsonl")).arg("-o").arg(&output).arg("--json").args(options);
    let run = command.stdin(Stdio::null()).output().expect("the binary can be run");
    assert!(run.status.success(), "the run failed: {}", String::from_utf8_lossy(&run.stderr));
    let answers = lines(&output).into_iter().map(|line| (text(&line["custom_id"]), answer(&line))).collect();
    (answers, serde_json::from_slice(&run.stdout).expect("a summary in JSON"))
}

/// What the documents of a folder should be answered with.
pub(crate) fn expected(folder: &Path) -> Vec<Value> {
    lines(&folder.join("documents.expected.jsonl"))
}

/// How many documents have this task, and the share of them that is answered as expected.
pub(crate) fn score(answers: &HashMap<String, String>, expected: &[Value], task: &str) -> (usize, f64) {
    let of_task: Vec<_> = expected.iter().filter(|line| text(&line["custom_id"]).starts_with(task)).collect();
    assert!(!of_task.is_empty(), "no document asks to {task}");
    let equal = of_task.iter().filter(|line| is_expected(&answers[&text(&line["custom_id"])], &line["expected"])).count();
    (of_task.len(), equal as f64 / of_task.len() as f64)
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

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
