//! The harness of the end-to-end tests and the long proofs: real processes of the `millrace` binary on real servers. It judges nothing
//! but what must hold for every batch.

pub mod servers;

pub mod process;

pub mod pipeline;

pub mod client;

pub mod truth;

pub mod batches;

pub mod proxy;

pub mod waiting;
