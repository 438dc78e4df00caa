//! The producer on the embedded backing: real store, real queue, real files, and a stand-in for the worker.
#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod app;

mod auth;
mod batches;
mod chats;
mod dispatch;
mod errors;
mod files;
