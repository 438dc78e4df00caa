//! The service as a test wants it: one embedded process, or a producer and consumers on real servers.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::{
    client::Client,
    process::{Process, run},
    servers::Place,
    waiting::{PATIENCE, eventually},
};

/// Which of the two sides of the ports a pipeline stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// SQLite, an in-process queue and a folder, in one process.
    Embedded,
    /// Postgres, RabbitMQ and S3, with a process a role.
    Servers,
}

/// What to start. The default answers at once with a fixed text.
pub struct Plan {
    backing: Backing,
    place: Option<Place>,
    consumers: usize,
    model: Vec<String>,
    limits: Vec<String>,
    webhooks: Vec<String>,
}

impl Plan {
    /// One consumer, where there is a choice, and the null engine.
    pub fn new(backing: Backing) -> Self {
        Self { backing, place: None, consumers: 1, model: words("--engine null"), limits: Vec::new(), webhooks: Vec::new() }
    }

    /// On servers of the test's own.
    pub fn on(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// That many consumers; an embedded pipeline always is one process.
    pub fn consumers(mut self, count: usize) -> Self {
        self.consumers = count;
        self
    }

    /// Flags about the model, such as `--engine null --null-tokens-per-s 100`.
    pub fn model(mut self, flags: &str) -> Self {
        self.model = words(flags);
        self
    }

    /// Flags about limits.
    pub fn limits(mut self, flags: &str) -> Self {
        self.limits = words(flags);
        self
    }

    /// Flags about webhooks.
    pub fn webhooks(mut self, flags: &str) -> Self {
        self.webhooks = words(flags);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Pipeline {
        let folder = tempfile::tempdir().expect("a folder for state and logs");
        let pipeline = match self.backing {
            Backing::Embedded => self.start_embedded(folder).await,
            Backing::Servers => self.start_on_servers(folder).await,
        };
        eventually("the service is ready", PATIENCE, async || (pipeline.client.get("/readyz").await.status == 200).then_some(())).await;
        pipeline
    }

    async fn start_embedded(self, folder: TempDir) -> Pipeline {
        let state = folder.path().join("state").display().to_string();
        let mut arguments = words("serve --listen 127.0.0.1:0 --state");
        arguments.push(state.clone());
        arguments.extend([&self.model[..], &self.limits, &self.webhooks].concat());
        let mut server = Process::start("serve", &arguments, &BTreeMap::new(), folder.path());
        let client = Client::new(&server.url().await, None);
        Pipeline {
            client,
            server,
            consumers: Vec::new(),
            consumers_started: 0,
            database: ["--state".to_owned(), state],
            place: None,
            plan: self,
            folder,
        }
    }

    async fn start_on_servers(mut self, folder: TempDir) -> Pipeline {
        let place = match self.place.take() {
            Some(place) => place,
            None => Place::fresh().await,
        };
        let database = ["--database-url".to_owned(), place.database_url.clone()];
        let migrated = run(&["migrate", &database[0], &database[1]]);
        assert!(migrated.status.success(), "migrate: {}", String::from_utf8_lossy(&migrated.stderr));
        let arguments = [words("produce --listen 127.0.0.1:0"), place.flags(), self.limits.clone()].concat();
        let mut server = Process::start("produce", &arguments, &place.environment, folder.path());
        let client = Client::new(&server.url().await, None);
        let consumers = self.consumers;
        let mut pipeline =
            Pipeline { client, server, consumers: Vec::new(), consumers_started: 0, database, place: Some(place), plan: self, folder };
        pipeline.client = pipeline.client_of("test");
        for _ in 0..consumers {
            pipeline.add_consumer("");
        }
        pipeline
    }
}

/// A running service.
pub struct Pipeline {
    /// Speaks for one tenant: on servers the tenant `test`, else whoever sits at the machine.
    pub client: Client,
    /// `serve` or `produce`.
    pub server: Process,
    pub consumers: Vec<Process>,
    /// Numbers the logs: a consumer that has been killed keeps its own.
    consumers_started: usize,
    /// Where an operator's commands find the database.
    pub database: [String; 2],
    /// The servers it stands on; none if it is embedded.
    pub place: Option<Place>,
    plan: Plan,
    folder: TempDir,
}

impl Pipeline {
    /// Starts another consumer, with more flags if there are any.
    pub fn add_consumer(&mut self, flags: &str) {
        let place = self.place.as_ref().expect("an embedded pipeline has no consumers beside it");
        let Plan { model, limits, webhooks, .. } = &self.plan;
        let arguments = [words("consume"), place.flags(), model.clone(), limits.clone(), webhooks.clone(), words(flags)].concat();
        let name = format!("consume-{}", self.consumers_started);
        self.consumers_started += 1;
        self.consumers.push(Process::start(&name, &arguments, &place.environment, self.folder.path()));
    }

    /// A client with a new key of a tenant.
    pub fn client_of(&self, tenant: &str) -> Client {
        let created = run(&["key", "create", "--json", "--tenant", tenant, &self.database[0], &self.database[1]]);
        assert!(created.status.success(), "key create: {}", String::from_utf8_lossy(&created.stderr));
        let key: serde_json::Value = serde_json::from_slice(&created.stdout).expect("one JSON object");
        Client::new(self.client.url(), Some(key["key"].as_str().expect("the key is a string")))
    }

    /// Kills all consumers.
    pub fn kill_consumers(&mut self) {
        self.consumers.clear();
    }
}

/// Flags as one writes them in a shell.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
