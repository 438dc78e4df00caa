//! `millrace run`: a job on one machine that survives being killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tests::{
    batches::chat_lines,
    pipeline::words,
    process::{Process, millrace},
    waiting::{PATIENCE, eventually},
};

const LINES: usize = 600;
/// More than the lines under way at a kill: no line is so unlucky as to lose its worker three times, which would fail it.
const CLAIMED_MAX: i64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_three_times_resumes_and_answers_each_line_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&input, chat_lines(LINES)).expect("the input is written");
    let state = folder.path().join("out.jsonl.state");

    let mut answered_before = 0;
    for _ in 0..3 {
        let mut run = start(&input, &output, folder.path());
        let answered = eventually("more lines are answered than before", PATIENCE, async || {
            let answered = answers_in(&state).await?;
            (answered > answered_before + CLAIMED_MAX).then_some(answered)
        })
        .await;
        run.kill();
        assert!(!output.exists(), "killed too late to prove anything");
        answered_before = answered;
    }
    let mut last = start(&input, &output, folder.path());
    assert!(last.ended().await.success(), "{}", last.log());

    let lines: Vec<Value> =
        fs::read_to_string(&output).expect("the output").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: BTreeSet<_> = lines.iter().map(|line| line["custom_id"].as_str().expect("an id")).collect();
    assert_eq!((lines.len(), ids.len()), (LINES, LINES), "each line once");
    assert!(lines.iter().all(|line| line["response"]["status_code"] == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_input_is_refused_by_an_old_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&input, chat_lines(LINES)).expect("the input is written");
    let state = folder.path().join("out.jsonl.state");
    let mut run = start(&input, &output, folder.path());
    eventually("the run has begun", PATIENCE, async || answers_in(&state).await.filter(|answers| *answers > 0)).await;
    run.kill();

    fs::write(&input, chat_lines(LINES + 1)).expect("the input is changed");
    let refused = millrace(&BTreeMap::new()).args(arguments(&input, &output)).output().expect("the binary can be run");
    assert!(!refused.status.success() && !output.exists());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("in.jsonl") && message.contains("state"), "not a clear message: {message}");
}

/// Slow enough to be caught in the middle.
fn start(input: &Path, output: &Path, folder: &Path) -> Process {
    Process::start("run", &arguments(input, output), &BTreeMap::new(), folder)
}

fn arguments(input: &Path, output: &Path) -> Vec<String> {
    let paths = format!("run {} -o {} --quiet", input.display(), output.display());
    [words(&paths), words("--engine null --null-tokens-per-s 600")].concat()
}

/// Terminal lines in the state folder of a run; none before it has a database.
async fn answers_in(state: &Path) -> Option<i64> {
    let file = SqliteConnectOptions::new().filename(state.join("millrace.db")).read_only(true).busy_timeout(Duration::from_secs(5));
    let mut connection = SqliteConnection::connect_with(&file).await.ok()?;
    sqlx::query_scalar("select succeeded from batches").fetch_optional(&mut connection).await.ok().flatten()
}
