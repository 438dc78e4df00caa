//! The engine: requests in, one step after another, answers out.

use crate::error::LoadError;
use crate::options::{ModelSource, Options};
use crate::request::{Finished, Refusal, Request};

/// A loaded model with its running batch. One thread owns it; no call awaits.
#[derive(Debug)]
pub struct Engine {
    description: ModelDescription,
    options: Options,
}

/// What was loaded and where it runs.
#[derive(Debug, Clone)]
pub struct ModelDescription {
    /// `model_type` of the configuration.
    pub architecture: String,
    pub parameters: u64,
    /// Prompt and answer together never exceed this many tokens.
    pub context_length: usize,
    pub vocab_size: usize,
    /// Bytes of business text one token stands for, measured on a sample.
    pub bytes_per_token: f32,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// Why this device, for the log.
    pub device_reason: String,
    pub dtype: &'static str,
}

impl Engine {
    /// Loads a model, or says what is wrong with it.
    pub fn load(_source: &ModelSource, _options: &Options) -> Result<Engine, LoadError> {
        Err(LoadError::option("device", "no backend is built in yet"))
    }

    pub fn model(&self) -> &ModelDescription {
        &self.description
    }

    /// How many more requests would be admitted now.
    pub fn room(&self) -> usize {
        self.options.slots_max
    }

    /// Takes a request in; `id` is the caller's and comes back in [`Finished`].
    pub fn add(&mut self, _id: u64, _request: Request) -> Result<(), Refusal> {
        Ok(())
    }

    /// Computes one batch and returns what ended with it.
    pub fn step(&mut self) -> Vec<Finished> {
        Vec::new()
    }

    /// Drops a request; false if it is not here (any more).
    pub fn cancel(&mut self, _id: u64) -> bool {
        false
    }

    pub fn is_idle(&self) -> bool {
        true
    }
}
