//! A transaction together with the wake-ups that leave when it commits, and its repetition when the database breaks it off.

use std::time::Duration;

use tokio::sync::broadcast;

use super::{
    database::{Connection, Database},
    value::{self, Row, Value, args},
    *,
};

const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// An open transaction; dropped without a commit, it changes nothing.
pub(super) struct Transaction {
    connection: Connection,
    changes: Vec<Change>,
    notify: bool,
    local: broadcast::Sender<Change>,
}

impl Store {
    /// Opens a transaction that may write.
    pub(super) async fn begin(&self) -> Result<Transaction> {
        let connection = self.0.database.writer().await?.begin().await?;
        let notify = matches!(self.0.database, Database::Postgres { .. });
        Ok(Transaction { connection, changes: Vec::new(), notify, local: self.0.changes.clone() })
    }
}

impl Transaction {
    /// The rows of a statement.
    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.connection.statement(sql, values).await
    }

    /// The first row of a statement.
    pub(super) async fn row(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Tells everybody about a change, once it is committed.
    pub(super) fn tell(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Makes everything durable, then tells.
    pub(super) async fn commit(mut self) -> Result<()> {
        if self.notify && !self.changes.is_empty() {
            #[derive(serde::Serialize)]
            struct Given {
                change: String,
            }
            let changes = value::rows(self.changes.drain(..).map(|change| Given { change: change.text() }))?;
            let sql = "select pg_notify('millrace', change) from json_to_recordset($1::json) as given(change text)";
            self.rows(sql, args![changes]).await?;
        }
        self.connection.commit().await?;
        for change in self.changes {
            // Nobody minds if nobody listens.
            let _ = self.local.send(change);
        }
        Ok(())
    }
}

/// Repeats a transaction that the database broke off in favour of another one.
pub(super) async fn repeat<T, F: Future<Output = Result<T>>>(mut attempt: impl FnMut() -> F) -> Result<T> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(error) if tries < TRIES_MAX && was_broken_off(&error) => tracing::debug!(%error, tries, "transaction broken off"),
            result => return result,
        }
        tokio::time::sleep(PAUSE.mul_f64(f64::from(tries) * rand::random_range(0.5..1.5))).await;
        tries += 1;
    }
}

fn was_broken_off(error: &Error) -> bool {
    const CODES: [&str; 5] = [
        "40001", // serialization failure
        "40P01", // deadlock
        "5", "261", "517", // SQLite: busy, busy in recovery, busy with an old snapshot
    ];
    match error {
        Error::Store(sqlx::Error::Database(error)) => error.code().is_some_and(|code| CODES.contains(&&*code)),
        _ => false,
    }
}
