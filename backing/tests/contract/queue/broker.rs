//! A broker of a test's own, which it may kill, stop and wipe. Started by `infra/services`.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use tempfile::TempDir;

pub(crate) struct Broker {
    folder: TempDir,
    pub(crate) url: String,
}

impl Broker {
    /// `None` where the shared broker is missing too: then RabbitMQ is not there to be tested.
    pub(crate) fn start() -> Option<Self> {
        super::fresh::shared_url()?;
        // Inside the directory of the shared servers, whose end is its too: a test that is killed drops nothing.
        let outer = std::env::var_os("MILLRACE_TEST_SERVICES").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("private-").tempdir_in(outer).unwrap();
        let mut broker = Self { folder, url: String::new() };
        broker.revive();
        let addresses = broker.call("env", &[]);
        let url = addresses.lines().find_map(|line| line.strip_prefix("export MILLRACE_TEST_AMQP_URL="));
        broker.url = url.expect("the broker has an address").trim_matches('\'').to_owned();
        Some(broker)
    }

    pub(crate) fn kill(&self) {
        self.call("kill", &["rabbitmq"]);
    }

    /// In good order, with everything on the disk.
    pub(crate) fn stop(&self) {
        self.call("stop", &["rabbitmq"]);
    }

    pub(crate) fn wipe(&self) {
        self.call("wipe", &["rabbitmq"]);
    }

    pub(crate) fn revive(&self) {
        self.call("start", &["rabbitmq"]);
    }

    pub(crate) fn pid(&self) -> String {
        let status = self.call("status", &[]);
        status.split_whitespace().skip_while(|word| *word != "pid").nth(1).expect("the broker runs").to_owned()
    }

    /// The local ports of everybody's connections to this broker.
    pub(crate) fn connections(&self) -> BTreeSet<String> {
        let port = format!(":{:04X}", url::Url::parse(&self.url).unwrap().port().unwrap());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let established = |line: &str| {
            let mut columns = line.split_whitespace().skip(1);
            let (local, peer, state) = (columns.next()?, columns.next()?, columns.next()?);
            (peer.ends_with(&port) && state == "01").then(|| local.to_owned())
        };
        table.lines().filter_map(established).collect()
    }

    fn call(&self, command: &str, arguments: &[&str]) -> String {
        let output = Command::new(script()).arg(command).arg(self.folder.path()).args(arguments).output().unwrap();
        // A stopped broker is unhealthy, which is what `status` says by its exit code.
        let fine = output.status.success() || command == "status";
        assert!(fine, "infra/services {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Sends a signal, at once.
pub(crate) fn signal(pid: &str, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

impl Drop for Broker {
    fn drop(&mut self) {
        let removed = Command::new(script()).arg("remove").arg(self.folder.path()).status();
        assert!(removed.is_ok_and(|status| status.success()) || std::thread::panicking(), "the broker could not be removed");
    }
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra/services")
}
