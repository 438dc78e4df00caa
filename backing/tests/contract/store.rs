//! The contract of the store, over Postgres and over SQLite: a fresh database for each test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod databases;
mod scene;

mod opening;
mod whole_way;

mod claims;
mod dispatch;
mod fencing;
mod races;

mod endings;
mod events;
mod pruning;

mod changes;
mod leases;
mod listings;

use databases::on_both;
