//! One process of the `millrace` binary: its address, its log, and the signals a test sends it. It dies with its handle.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

use crate::waiting::{PATIENCE, eventually};

/// A running process whose output goes to files.
pub struct Process {
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts `millrace ARGUMENTS`; its files lie in `folder` and are called `name`.
    pub fn start(name: &str, arguments: &[String], environment: &BTreeMap<String, String>, folder: &Path) -> Self {
        let (output, log) = (folder.join(name).with_extension("out"), folder.join(name).with_extension("log"));
        let mut command = millrace(environment);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(File::create(&output).expect("a file for the output")).stderr(File::create(&log).expect("a file for the log"));
        Self { child: command.spawn().expect("the binary can be run"), output, log }
    }

    /// The base URL, which a server prints first.
    pub async fn url(&mut self) -> String {
        eventually("the server prints its address", PATIENCE, async || {
            assert!(self.child.try_wait().expect("our child").is_none(), "the server has ended:\n{}", self.log());
            let output = fs::read_to_string(&self.output).expect("the output can be read");
            let (line, _) = output.split_once('\n')?;
            Some(line.strip_prefix("listening on ").expect("the first line is the address").to_owned())
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Failing means that it has ended already.
        let _ended = self.child.kill();
        self.child.wait().expect("our child");
    }

    /// SIGSTOP: it keeps its connections and claims, and does nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, and waits until it has left by itself.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it has left.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the process ends", PATIENCE, async || self.child.try_wait().expect("our child")).await
    }

    /// The most memory it ever held.
    pub fn resident_bytes_max(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }

    fn signal(&self, name: &str) {
        // The shell's own kill: a minimal system has no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -s {name} {}", self.child.id())).status();
        assert!(sent.expect("a shell").success(), "SIG{name} was not sent");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- end of {}\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    millrace(&BTreeMap::new()).args(arguments).stdin(Stdio::null()).output().expect("the binary can be run")
}

/// The binary with a clean environment: what a developer has set must not decide a test.
pub fn millrace(environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().envs(env::vars().filter(|(name, _)| ["PATH", "HOME", "TMPDIR"].contains(&name.as_str()))).envs(environment);
    command
}

fn binary() -> PathBuf {
    if let Some(path) = env::var_os("MILLRACE_TEST_BINARY") {
        return path.into();
    }
    // A test lies in target/PROFILE/deps, a proof in target/PROFILE.
    let own = env::current_exe().expect("a running program has a path");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("millrace")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no millrace beside {}: build it with `cargo build --workspace --bins`", own.display()))
}
