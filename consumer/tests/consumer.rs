//! The roles of the consumer on the embedded backing: real store, queue, objects and HTTP; the model is the null engine.
//! Faults of whole processes and of the servers are tested end to end, in `tests/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "consumer/bench.rs"]
mod bench;

#[path = "consumer/files.rs"]
mod files;

#[path = "consumer/workers.rs"]
mod workers;

#[path = "consumer/webhooks.rs"]
mod webhooks;
