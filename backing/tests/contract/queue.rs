//! The contract of the queue, in-process and over RabbitMQ, and what RabbitMQ alone can do to us.

mod broker;
mod fresh;

mod doorbells;
mod faults;
mod foreign;
