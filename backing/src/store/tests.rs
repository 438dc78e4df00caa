//! Every statement of the store is prepared on both databases. They are found by reading the sources: none can be forgotten.
//! And nobody holds a lock for long.

use std::{fs, path::Path, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _};

use super::{value::args, *};

/// The string literals in the store's sources that are statements.
fn statements() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = fs::read_dir(source.join("store")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(source.join("store.rs"));
    files.retain(|path| !path.ends_with("tests.rs") && !path.ends_with("dialect.rs"));
    let is_statement = |text: &String| ["select ", "insert ", "update ", "delete ", "with "].iter().any(|verb| text.starts_with(verb));
    let literals = |path: &_| fs::read_to_string(path).unwrap().split('"').map(str::to_owned).collect::<Vec<_>>();
    files.iter().flat_map(literals).filter(is_statement).collect()
}

/// The server to test on; none only outside CI.
fn postgres() -> Option<String> {
    let server = std::env::var("MILLRACE_TEST_DATABASE_URL").ok();
    if server.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MILLRACE_TEST_DATABASE_URL is not set");
        eprintln!("not tested on Postgres: MILLRACE_TEST_DATABASE_URL is not set");
    }
    server
}

#[tokio::test]
async fn every_statement_is_prepared_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("millrace.db").display())).await.unwrap();
    store.migrate().await.unwrap();
    let Database::Sqlite { writer, .. } = &store.0.database else { unreachable!() };
    let mut connection = writer.acquire().await.unwrap();
    let statements = statements();
    assert!(statements.len() > 60, "only {} statements found", statements.len());
    // What asks Postgres about itself has no other side.
    for statement in statements.into_iter().filter(|statement| !statement.contains("pg_")) {
        let sql = AssertSqlSafe(dialect::sqlite(&statement)).into_sql_str();
        connection.prepare(sql).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test]
async fn every_statement_is_prepared_on_postgres() {
    let Some(server) = postgres() else { return };
    let mut connection = PgConnection::connect(&server).await.unwrap();
    // Nothing of this is ever committed.
    let mut tx = connection.begin().await.unwrap();
    tx.execute("create schema statements; set local search_path to statements").await.unwrap();
    for migration in sqlx::migrate!("../migrations/postgres").iter() {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut *tx).await.unwrap();
    }
    for statement in statements() {
        let sql = AssertSqlSafe(statement.clone()).into_sql_str();
        tx.prepare(sql).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test]
async fn a_process_stopped_in_a_transaction_holds_others_up_for_little_longer_than_its_lease() {
    let Some(server) = postgres() else { return };
    let store = Store::open(&server).await.unwrap();
    let lock = "select pg_advisory_xact_lock(20260726)";
    let mut stopped = store.begin().await.unwrap();
    stopped.row(lock, args![]).await.unwrap();
    let mut other = store.begin().await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), other.row(lock, args![])).await.expect("the lock is free again").unwrap();
    stopped.commit().await.expect_err("its transaction is over");
}
