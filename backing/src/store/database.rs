//! Connections and transactions: the same few calls over a pool of either database, each bounded in time. No table is known here.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, PgPool, Postgres, Sqlite, SqlitePool,
    pool::{PoolConnection, PoolOptions},
    postgres::{PgArguments, PgConnectOptions},
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    dialect,
    value::{self, Row, Value},
};
use crate::{Error, Result, error::within};

/// Longest wait for a free connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for one statement. The server gives up a little earlier, so that we hear why.
const STATEMENT_MAX: Duration = Duration::from_secs(30);
const POSTGRES_CONNECTIONS_MAX: u32 = 20;
const SQLITE_READERS_MAX: u32 = 8;
/// Rows that wait between the thread of a SQLite connection and whoever reads them.
const SQLITE_ROWS_AHEAD: usize = 256;
/// A connection that was idle for longer is tried before use.
const TRUSTED: Duration = Duration::from_secs(5);

/// The pools of one database.
pub(super) enum Database {
    Postgres {
        pool: PgPool,
        options: PgConnectOptions,
    },
    /// SQLite has one writer at a time: they queue for its connection here rather than for its lock there.
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
}

impl Database {
    /// Connects by URL.
    pub(super) async fn open(url: &str, durable: bool) -> Result<Self> {
        match url.strip_prefix("sqlite:") {
            Some(path) => open_sqlite(path.strip_prefix("//").unwrap_or(path).into(), durable).await,
            None if url.starts_with("postgres://") || url.starts_with("postgresql://") => open_postgres(url).await,
            None => Err(Error::Config("the database URL must start with `postgres://` or `sqlite:`".to_owned())),
        }
    }

    /// A connection for reading.
    pub(super) async fn reader(&self) -> Result<Connection> {
        Ok(Connection::new(match self {
            Self::Postgres { pool, .. } => Live::Postgres(pool.acquire().await?),
            Self::Sqlite { readers, .. } => Live::Sqlite(readers.acquire().await?),
        }))
    }

    /// A connection that may write.
    pub(super) async fn writer(&self) -> Result<Connection> {
        match self {
            Self::Postgres { .. } => self.reader().await,
            Self::Sqlite { writer, .. } => Ok(Connection::new(Live::Sqlite(writer.acquire().await?))),
        }
    }
}

async fn open_postgres(url: &str) -> Result<Database> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| Error::Config(format!("the database URL: {error}")))?
        .application_name("millrace")
        // sqlx sets no keepalive; the server's at least frees what a vanished client held. A process that is stopped in the middle of a
        // transaction keeps its locks from the others for about as long as its lease.
        .options([
            ("statement_timeout", "25s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
        ]);
    let pool = PoolOptions::<Postgres>::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options.clone())
        .await?;
    Ok(Database::Postgres { pool, options })
}

async fn open_sqlite(path: PathBuf, durable: bool) -> Result<Database> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await.map_err(|error| Error::Config(format!("{}: {error}", folder.display())))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // The log is written in order either way, so that what a power failure takes back are the last commits and never one between others.
        .synchronous(if durable { SqliteSynchronous::Full } else { SqliteSynchronous::Normal })
        .foreign_keys(true)
        // A page of lines comes from the database's thread at once rather than in several handovers.
        .row_buffer_size(SQLITE_ROWS_AHEAD)
        .busy_timeout(ACQUIRE_MAX);
    let pool = |connections: u32| PoolOptions::<Sqlite>::new().max_connections(connections).acquire_timeout(STATEMENT_MAX);
    let writer = pool(1).connect_with(options.clone()).await?;
    let readers = pool(SQLITE_READERS_MAX).connect_with(options).await?;
    Ok(Database::Sqlite { readers, writer })
}

enum Live {
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

/// A borrowed connection. If it is dropped while a statement is under way or a transaction open (an error, a timeout, a cancelled
/// future), it is closed and never used again: nobody can tell in which state it is.
pub(super) struct Connection {
    live: Live,
    unsettled: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.unsettled {
            match &mut self.live {
                Live::Postgres(connection) => connection.close_on_drop(),
                Live::Sqlite(connection) => connection.close_on_drop(),
            }
        }
    }
}

impl Connection {
    fn new(live: Live) -> Self {
        Self { live, unsettled: false }
    }

    /// Opens a transaction.
    pub(super) async fn begin(mut self) -> Result<Self> {
        let begin = match self.live {
            Live::Postgres(_) => "begin",
            // Taking the write lock at once cannot fail later for want of it.
            Live::Sqlite(_) => "begin immediate",
        };
        self.statement(begin, Vec::new()).await?;
        Ok(self)
    }

    /// Makes a transaction durable.
    pub(super) async fn commit(mut self) -> Result<()> {
        self.statement("commit", Vec::new()).await?;
        self.unsettled = false;
        Ok(())
    }

    /// Runs a statement outside of any transaction.
    pub(super) async fn rows(mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = self.statement(sql, values).await?;
        self.unsettled = false;
        Ok(rows)
    }

    /// Runs a statement and leaves the connection unsettled.
    pub(super) async fn statement(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.unsettled = true;
        match &mut self.live {
            Live::Postgres(connection) => {
                let query = sqlx::query_with(sql, value::arguments::<PgArguments>(values)?);
                let rows = within(STATEMENT_MAX, "the database", query.fetch_all(&mut **connection)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
            Live::Sqlite(connection) => {
                let sql: Arc<str> = dialect::sqlite(sql).into();
                let query = sqlx::query_with(AssertSqlSafe(sql), value::arguments::<SqliteArguments>(values)?);
                let rows = within(STATEMENT_MAX, "the database", query.fetch_all(&mut **connection)).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
        }
    }
}
