//! The store: one set of tables on Postgres or SQLite, and the only place where SQL stands. One file a table.

use domain::id::{BatchId, RequestId};

mod batches;
mod changes;
mod events;
mod files;
mod keys;
mod leases;
mod lines;
mod models;
mod requests;
mod results;
mod tenants;
mod workers;

pub use batches::{NewBatch, Phase};
pub use changes::{Change, Changes};
pub use events::{Attempt, Delivery};
pub use files::Order;
pub use keys::KeyRow;
pub use leases::Term;
pub use lines::NewLine;
pub use requests::{Body, Claimed, NewSingle, SingleView, Undelivered};
pub use results::{Ended, FinishReport, LineResult};
pub use workers::Worker;

use crate::Result;

/// A pool of connections to one database; clones share it.
#[derive(Clone)]
pub struct Store;

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl Store {
    /// Connects to `postgres://…` or `sqlite:PATH` (created if missing). Refuses a Postgres with `fsync` or `synchronous_commit` off.
    pub async fn open(url: &str) -> Result<Self> {
        todo!("{url}")
    }

    /// Brings the tables to this version. Safe to call from several processes at once.
    pub async fn migrate(&self) -> Result<()> {
        todo!()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }

    /// What happens from now on, in this and in all other processes: ids only, possibly lossy, so every listener polls as well.
    pub fn changes(&self) -> Changes {
        todo!()
    }
}
