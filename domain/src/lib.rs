//! The nouns and rules of Millrace: what a request, a batch and a result are and which changes they may undergo.
//! No I/O, no clock, no async: everything here can be tested by calling it.

pub mod id;

pub mod answer;
pub mod batch;
pub mod file;
pub mod request;
pub mod usage;

pub mod envelope;
pub mod event;
pub mod trace;

pub mod fairness;
pub mod jsonl;
pub mod limits;
pub mod window;

pub mod error;
pub mod fields;
pub mod key;
pub mod model;
