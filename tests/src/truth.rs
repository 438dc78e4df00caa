//! What the database says, for what no client is told: claims, attempts, deliveries.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::pipeline::Pipeline;

impl Pipeline {
    /// The one number that a query finds, on Postgres or SQLite.
    pub async fn number(&self, query: &str) -> i64 {
        let [flag, database] = &self.database;
        let query = AssertSqlSafe(query.to_owned());
        if flag == "--database-url" {
            let mut connection = PgConnection::connect(database).await.expect("Postgres accepts a connection");
            return sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a number");
        }
        let file = SqliteConnectOptions::new().filename(format!("{database}/millrace.db")).busy_timeout(Duration::from_secs(10));
        let mut connection = SqliteConnection::connect_with(&file).await.expect("SQLite opens the file");
        sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a number")
    }
}
