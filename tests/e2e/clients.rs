//! The example clients, run as a user runs them: curl, OpenAI's Python library and OpenAI's Node library, unmodified.

use std::{env, path::PathBuf, process::Command};

use tests::{
    batches::chat_lines,
    pipeline::{Backing, Pipeline, Plan},
    servers::repository,
};

crate::on_both_backings!(
    the_curl_example_works,
    the_python_example_works,
    the_node_example_works,
    the_python_example_takes_a_file_of_2000_lines
);

async fn the_curl_example_works(backing: Backing) {
    let said = run_example(&Plan::new(backing).start().await, Command::new(repository("examples/curl.sh")));
    assert!(said.contains("downloaded 3 answers") && said.contains("and was answered:"), "{said}");
}

async fn the_python_example_works(backing: Backing) {
    let mut command = Command::new(python());
    command.arg(repository("examples/client.py"));
    let said = run_example(&Plan::new(backing).start().await, command);
    assert!(said.contains("3 of 3 answered, 0 failed") && said.contains("chat chatcmpl-"), "{said}");
}

async fn the_node_example_works(backing: Backing) {
    let mut command = Command::new(from_environment("MILLRACE_TEST_NODE"));
    command.arg(repository("examples/client.mjs"));
    let said = run_example(&Plan::new(backing).start().await, command);
    assert!(said.contains("3 of 3 answered, 0 failed") && said.contains("chat chatcmpl-"), "{said}");
}

async fn the_python_example_takes_a_file_of_2000_lines(backing: Backing) {
    let input = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(input.path(), chat_lines(2_000)).expect("the lines are written");
    let mut command = Command::new(python());
    command.arg(repository("examples/client.py")).arg(input.path());
    let said = run_example(&Plan::new(backing).start().await, command);
    assert!(said.contains("2000 of 2000 answered, 0 failed"), "{said}");
}

/// Runs a client against a pipeline and returns what it printed; it must succeed.
fn run_example(pipeline: &Pipeline, mut command: Command) -> String {
    command.env("MILLRACE_URL", pipeline.client.url()).env_remove("MILLRACE_API_KEY");
    if let Some(key) = pipeline.client.key() {
        command.env("MILLRACE_API_KEY", key);
    }
    let output = command.output().expect("the example can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A Python that has OpenAI's library.
pub(crate) fn python() -> PathBuf {
    from_environment("MILLRACE_TEST_PYTHON")
}

fn from_environment(variable: &str) -> PathBuf {
    let path = env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `make test`, or see infra/README.md")).into()
}
