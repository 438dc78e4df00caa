//! The inference engine: tokens and tensors, nothing of HTTP, queues or tenants. A step is schedule, forward, sample,
//! commit (`engine.rs`); the modules stand in the order in which a request meets them.

// What callers see.
mod engine;
mod error;
mod options;
mod request;
mod shape;

// From a prompt to tokens, and back.
mod answer;
mod chat;
mod text;
mod tokenizer;
mod tools;

// Which tokens are computed next.
mod batch;
mod draft;
mod kv;
mod schedule;
mod sequence;
mod waiting;

// From tokens to logits, and the next token.
mod backend;
mod grammar;
mod model;
mod sample;

// What benchmarks look into.
pub mod bench;

// The model's files and the machine.
mod config;
mod device;
mod memory;
mod source;
mod weights;

pub use draft::DraftCounts;
pub use engine::{Engine, ModelDescription};
pub use error::LoadError;
pub use options::{Device, Dtype, ModelSource, Options};
pub use request::{
    Completion, Failure, FinishReason, Finished, Format, Message, Prompt, Refusal, Request, Sampling, TokenLogprob, ToolCall, ToolChoice,
    Tools, TopLogprob, Usage,
};
pub use shape::{SHAPES, shape};

#[cfg(test)]
mod allocations;
