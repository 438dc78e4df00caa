//! The contract of the queue, in-process and over RabbitMQ, and what RabbitMQ alone can do to us.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broker;
mod fresh;

mod doorbells;
mod faults;
mod foreign;
