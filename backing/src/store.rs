//! The store: one set of tables on Postgres or SQLite, and the only place where SQL stands. One file a table.

use domain::id::{BatchId, RequestId};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::broadcast, task::AbortHandle};

mod database;
mod dialect;
mod transaction;
mod value;

mod batches;
mod changes;
mod claims;
mod dispatch;
mod endings;
mod events;
mod files;
mod keys;
mod leases;
mod lines;
mod models;
mod pruning;
mod requests;
mod results;
mod tenants;
mod workers;

pub use batches::{NewBatch, Phase};
pub use changes::{Change, Changes};
pub use claims::Claimed;
pub use dispatch::Undelivered;
pub use events::{Attempt, Delivery};
pub use files::Order;
pub use keys::KeyRow;
pub use leases::{DISPATCHER, Term};
pub use lines::NewLine;
pub use pruning::Prunable;
pub use requests::{Body, NewSingle, SingleView};
pub use results::{Ended, FinishReport, LineResult};
pub use workers::Worker;

use crate::{Error, Result, error::within};
use database::Database;
use value::{Row, Value, args};

/// Longest migration; beyond that a person should look.
const MIGRATION_MAX: Duration = Duration::from_secs(600);
const MIGRATION_TRIES: u32 = 3;

/// A pool of connections to one database; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    changes: broadcast::Sender<Change>,
    listener: OnceLock<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> Page<T> {
    /// Makes a page of `limit + 1` items that were asked for.
    fn of(mut items: Vec<T>, limit: u32) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Self { items, has_more }
    }
}

impl Store {
    /// Connects to `postgres://…` or `sqlite:PATH` (created if missing). Refuses a Postgres with `fsync` or `synchronous_commit` off.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_as(url, true).await
    }

    /// The same; unless `durable`, SQLite does not wait for the disk, and a power failure takes back its last commits.
    pub async fn open_as(url: &str, durable: bool) -> Result<Self> {
        let database = Database::open(url, durable).await?;
        let (changes, _) = broadcast::channel(changes::BEHIND_MAX);
        let store = Self(Arc::new(Inner { database, changes, listener: OnceLock::new() }));
        store.refuse_forgetful().await?;
        Ok(store)
    }

    /// A 2xx promises that a commit is on disk.
    async fn refuse_forgetful(&self) -> Result<()> {
        if let Database::Sqlite { .. } = self.0.database {
            return Ok(());
        }
        let sql = "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit') and setting = 'off'";
        match self.read_one(sql, args![]).await? {
            None => Ok(()),
            Some(row) => {
                let name: String = row.get("name")?;
                Err(Error::Config(format!("Postgres runs with `{name} = off` and would lose what was accepted; turn it on")))
            }
        }
    }

    /// Brings the tables to this version. Safe to call from several processes at once.
    pub async fn migrate(&self) -> Result<()> {
        let mut tries = 1;
        loop {
            match within(MIGRATION_MAX, "the migration", self.migrate_once()).await {
                // SQLite has no lock for migrations: another process may have been at it in the same moment.
                Err(error) if tries < MIGRATION_TRIES => tracing::warn!(%error, "migration failed; trying again"),
                result => return result,
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(200..400))).await;
            tries += 1;
        }
    }

    async fn migrate_once(&self) -> Result<()> {
        let migrated = match &self.0.database {
            Database::Postgres { options, .. } => {
                // A connection of its own, because a migration may take longer than any statement.
                let patient = options.clone().options([("statement_timeout", "0")]);
                let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect_with(&patient).await?;
                sqlx::migrate!("../migrations/postgres").run(&mut connection).await
            }
            Database::Sqlite { writer, .. } => sqlx::migrate!("../migrations/sqlite").run(writer).await,
        };
        Ok(migrated.map_err(sqlx::Error::from)?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.read("select 1 as answer", args![]).await?;
        Ok(())
    }

    /// What happens from now on, in this and in all other processes: ids only, possibly lossy, so every listener polls as well.
    pub fn changes(&self) -> Changes {
        if let Database::Postgres { options, .. } = &self.0.database {
            self.0.listener.get_or_init(|| tokio::spawn(changes::forward(options.clone(), self.0.changes.clone())).abort_handle());
        }
        Changes { receiver: self.0.changes.subscribe(), _inner: self.0.clone() }
    }

    /// The rows of a query.
    async fn read(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.0.database.reader().await?.rows(sql, values).await
    }

    /// The first row of a query.
    async fn read_one(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.read(sql, values).await?.into_iter().next())
    }

    /// Runs one statement that changes something; the rows are those of its `returning`.
    async fn write(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.0.database.writer().await?.rows(sql, values).await
    }
}

#[cfg(test)]
mod tests;
