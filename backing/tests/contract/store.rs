//! The contract of the store, over Postgres and over SQLite: a fresh database for each test.

mod databases;
mod scene;

mod whole_way;

use databases::on_both;
