//! What a consumer is told at its start. Only `cli` reads flags and environment; it fills these in.

use std::{collections::BTreeSet, time::Duration};

use domain::limits::Limits;
use engine::{ModelSource, Options};
use ipnet::IpNet;

use crate::engine_time::EngineTime;

/// Everything a consumer needs besides its backing services.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Without `infer` no model is loaded.
    pub roles: BTreeSet<Role>,
    pub engine: EngineSettings,
    /// Where the engine's working time is counted.
    pub engine_time: EngineTime,
    pub limits: Limits,
    /// `None` where no batch can have a webhook: then nothing is read that sending one would need.
    pub webhook: Option<WebhookSettings>,
    pub lease: LeaseSettings,
    /// How long running requests may go on after SIGTERM before they are given back.
    pub drain_grace: Duration,
    /// How long the result of a single request can be read.
    pub singles_kept: Duration,
}

impl Settings {
    /// All roles, with the values that the documentation names.
    pub fn new(engine: EngineSettings) -> Self {
        Self {
            roles: Role::ALL.into(),
            engine,
            engine_time: EngineTime::default(),
            limits: Limits::default(),
            webhook: Some(WebhookSettings::default()),
            lease: LeaseSettings::default(),
            drain_grace: Duration::from_secs(25),
            singles_kept: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// A part of the consumer's work that a process can do alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Turns batch files into lines.
    Ingest,
    /// Runs requests on a model.
    Infer,
    /// Writes result files and sends webhooks.
    Deliver,
    /// Ends, returns and removes what is cancelled, overdue, orphaned or old.
    Upkeep,
}

impl Role {
    /// All roles, in the order in which a request meets them.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Infer, Self::Deliver, Self::Upkeep];

    /// The name on the command line and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Infer => "infer",
            Self::Deliver => "deliver",
            Self::Upkeep => "upkeep",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What answers requests, and under which model name.
#[derive(Clone, Debug)]
pub enum EngineSettings {
    /// Our own engine.
    Native { name: String, source: ModelSource, options: Options },
    /// A fixed text, at once or at a rate: for tests of load and fairness.
    Null { name: String, tokens_per_s: Option<f32>, slots: usize },
}

impl EngineSettings {
    /// The name under which the model is served.
    pub fn name(&self) -> &str {
        match self {
            Self::Native { name, .. } | Self::Null { name, .. } => name,
        }
    }
}

/// Where webhooks may go, and how patiently they are repeated.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Factor on all delays between attempts; tests make it small.
    pub schedule_scale: f64,
    /// Addresses that are dialled although they are private, on any port. Cloud metadata never is.
    pub allow: Vec<IpNet>,
    /// Whether plain `http` is accepted beside `https`.
    pub allow_http: bool,
    /// Ports that are dialled on public addresses.
    pub ports: Vec<u16>,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { schedule_scale: 1.0, allow: Vec::new(), allow_http: false, ports: vec![443, 8443] }
    }
}

/// How fast a dead process is noticed. Shorter means faster recovery and more writes.
#[derive(Clone, Copy, Debug)]
pub struct LeaseSettings {
    /// Time between two signs of life.
    pub heartbeat: Duration,
    /// Time without a sign of life after which claims and batches go to others.
    pub lease: Duration,
    /// Time between two searches for the dead.
    pub sweep: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(3), lease: Duration::from_secs(10), sweep: Duration::from_secs(2) }
    }
}
