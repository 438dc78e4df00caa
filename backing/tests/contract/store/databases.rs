//! Fresh, migrated databases for tests: SQLite in a folder of its own, Postgres by `MILLRACE_TEST_DATABASE_URL`.

use backing::store::Store;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Runs a test over a fresh database of each kind.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($fresh:ident: Fresh) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn contract($fresh: &crate::store::databases::Fresh) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                contract(&crate::store::databases::Fresh::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if let Some(fresh) = crate::store::databases::Fresh::postgres().await {
                    contract(&fresh).await;
                    fresh.drop_database().await;
                }
            }
        }
    )*};
}
pub(super) use on_both;

/// A database that nobody else uses.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) url: String,
    folder: Option<TempDir>,
}

impl Fresh {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("fresh.db").display());
        Self::migrated(url, Some(folder)).await
    }

    /// `None` where there is no server to test with, which must not happen in CI.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("MILLRACE_TEST_DATABASE_URL") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "MILLRACE_TEST_DATABASE_URL is not set");
            eprintln!("not tested on Postgres: MILLRACE_TEST_DATABASE_URL is not set");
            return None;
        };
        let name = format!("contract_{}", Uuid::new_v4().simple());
        run(&server, format!("create database {name}")).await;
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        Some(Self::migrated(url.into(), None).await)
    }

    async fn migrated(url: String, folder: Option<TempDir>) -> Self {
        let store = Store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        Self { store, url, folder }
    }

    /// Removes a Postgres database; one whose test failed stays for whoever wants to look at it.
    pub(crate) async fn drop_database(self) {
        let url = url::Url::parse(&self.url).unwrap();
        let server = std::env::var("MILLRACE_TEST_DATABASE_URL").unwrap();
        run(&server, format!("drop database {} with (force)", url.path().trim_start_matches('/'))).await;
    }

    /// Runs a statement beside the store, such as one that turns back a clock.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.folder {
            Some(_) => SqliteConnection::connect(&self.url).await.unwrap().execute(sql).await.map(drop).unwrap(),
            None => PgConnection::connect(&self.url).await.unwrap().execute(sql).await.map(drop).unwrap(),
        }
    }

    /// Counts beside the store.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        match &self.folder {
            Some(_) => sqlx::query_scalar(sql).fetch_one(&mut SqliteConnection::connect(&self.url).await.unwrap()).await.unwrap(),
            None => sqlx::query_scalar(sql).fetch_one(&mut PgConnection::connect(&self.url).await.unwrap()).await.unwrap(),
        }
    }

    /// Closes the window of every batch.
    pub(crate) async fn close_windows(&self) {
        self.execute("update batches set expires_at = '2020-01-01T00:00:00.000+00:00'").await;
    }
}

async fn run(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}
