//! The inference engine: tokens and tensors, nothing of HTTP, queues or tenants.

mod engine;
mod error;
mod options;
mod request;

pub use engine::{Engine, ModelDescription};
pub use error::LoadError;
pub use options::{Device, Dtype, ModelSource, Options};
pub use request::{
    Completion, Failure, FinishReason, Finished, Message, Prompt, Refusal, Request, Sampling,
    TokenLogprob, TopLogprob, Usage,
};
