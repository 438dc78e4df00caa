//! The servers below the service: a part of the shared ones for each test, or private ones that a test may break. They are started by
//! `infra/services`.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Where a pipeline's database, queues and objects are: nobody else has the same.
#[derive(Clone)]
pub struct Place {
    pub database_url: String,
    pub amqp_url: String,
    pub objects_url: String,
    pub queue_prefix: String,
    /// The credentials of the object store.
    pub environment: BTreeMap<String, String>,
}

impl Place {
    /// A new database, a prefix in the bucket and a prefix of queue names on the servers that `make test` started.
    pub async fn fresh() -> Self {
        Self::on(&env::vars().collect()).await
    }

    /// The same on servers with these addresses, in the words of `infra/services env`.
    pub async fn on(addresses: &BTreeMap<String, String>) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let address = |variable: &str| {
            let advice = "run `make test`, or `eval \"$(infra/services env DIR)\"` after `infra/services start DIR`";
            addresses.get(variable).unwrap_or_else(|| panic!("{variable} is not set: {advice}")).clone()
        };
        let database_url = create_database(&address("MILLRACE_TEST_DATABASE_URL"), &name).await;
        let objects_url = address("MILLRACE_TEST_OBJECTS_URL").replacen("/test?", &format!("/{name}?"), 1);
        let environment = addresses.iter().filter(|(variable, _)| variable.starts_with("AWS_"));
        Self {
            database_url,
            amqp_url: address("MILLRACE_TEST_AMQP_URL"),
            objects_url,
            queue_prefix: name,
            environment: environment.map(|(variable, value)| (variable.clone(), value.clone())).collect(),
        }
    }

    /// As flags of `produce` and `consume`.
    pub fn flags(&self) -> Vec<String> {
        let Self { database_url, amqp_url, objects_url, queue_prefix, .. } = self;
        [("database-url", database_url), ("amqp-url", amqp_url), ("objects-url", objects_url), ("queue-prefix", queue_prefix)]
            .map(|(flag, value)| format!("--{flag}={value}"))
            .to_vec()
    }
}

async fn create_database(server: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(server).await.expect("Postgres accepts a connection");
    let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
    connection.execute(statement).await.expect("the database can be created");
    let (base, _) = server.rsplit_once('/').expect("the URL names a database");
    format!("{base}/{name}")
}

/// Servers of one test alone, which it may kill and wipe.
pub struct Servers {
    folder: TempDir,
}

impl Servers {
    /// Starts some of `postgres`, `rabbitmq`, `s3`, `seaweedfs`.
    pub fn start(services: &[&str]) -> Self {
        // Inside the directory of the shared servers, whose end is theirs too: a test that is killed drops nothing.
        let outer = env::var_os("MILLRACE_TEST_SERVICES").map_or_else(env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("private-").tempdir_in(outer);
        let servers = Self { folder: folder.expect("a folder for the servers") };
        servers.call("start", services);
        servers
    }

    /// SIGKILL, for one of them.
    pub fn kill(&self, service: &str) {
        self.call("kill", &[service]);
    }

    /// Deletes the data of a killed one.
    pub fn wipe(&self, service: &str) {
        self.call("wipe", &[service]);
    }

    /// Starts a killed one again, at the same address.
    pub fn revive(&self, service: &str) {
        self.call("start", &[service]);
    }

    /// Their addresses, in the variables that the shared servers have.
    pub fn addresses(&self) -> BTreeMap<String, String> {
        let lines = self.call("env", &[]);
        let pairs = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        pairs.map(|(variable, value)| (variable.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    fn call(&self, command: &str, arguments: &[&str]) -> String {
        let run = Command::new(script()).arg(command).arg(self.folder.path()).args(arguments).output();
        let output = run.expect("infra/services can be run");
        assert!(output.status.success(), "infra/services {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the script prints text")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let removed = Command::new(script()).arg("remove").arg(self.folder.path()).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("could not remove the servers in {}", self.folder.path().display());
        }
    }
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").join(path)
}

fn script() -> PathBuf {
    repository("infra/services")
}
