//! What an operator may choose about a producer. A plain struct: only `cli` reads flags.

use std::time::Duration;

use domain::{id::TenantId, limits::Limits};

/// Settings with their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds on what a client may send.
    pub limits: Limits,
    /// Whose requests those without a key are. Set only where every caller is trusted: embedded, on loopback.
    pub open_tenant: Option<TenantId>,
    /// How long a waiting call sends nothing, so that an early fault still gets its own status.
    pub silence: Duration,
    /// Pause between the line feeds that keep a waiting call alive.
    pub keep_alive: Duration,
    /// Longest wait of a call; after that its connection is dropped.
    pub wait_max: Duration,
    /// How long a waiting call may be gone before its request is cancelled.
    pub vanished_after: Duration,
    /// Seconds within which a request that nobody waits for must have its answer.
    pub deadline_seconds: u64,
    /// How long keys and models are remembered without asking the store.
    pub remember_for: Duration,
    /// Connections held at once; more wait in the backlog of the listener.
    pub connections_max: usize,
    /// Longest wait for the headers of a call.
    pub header_timeout: Duration,
    /// Longest wait for the next bytes of a body.
    pub body_timeout: Duration,
    /// How long running calls may go on after the shutdown.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            open_tenant: None,
            silence: Duration::from_secs(5),
            keep_alive: Duration::from_secs(8),
            wait_max: Duration::from_secs(600),
            vanished_after: Duration::from_secs(60),
            deadline_seconds: 24 * 3600,
            remember_for: Duration::from_secs(5),
            connections_max: 4096,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}
