//! Why a model could not be loaded. Why a request was turned away is `request::Refusal`.

use std::io;
use std::path::PathBuf;

/// What is wrong with a model directory or with the options it was to be loaded with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the model has no {0}")]
    Missing(String),
    #[error("{file} is malformed: {reason}")]
    Malformed { file: String, reason: String },
    /// A well-formed value that this engine does not run.
    #[error("{file}: {field} = {value} is not supported: {expected}")]
    Unsupported { file: &'static str, field: &'static str, value: String, expected: String },
    #[error("tensor {name}: {reason}")]
    Tensor { name: String, reason: String },
    #[error("the weights take {weights} MB, and {free} MB of memory are free: that leaves too little for the cache of the longest request")]
    Memory { weights: u64, free: u64 },
    #[error("option {name}: {reason}")]
    Option { name: &'static str, reason: String },
}

impl LoadError {
    pub(crate) fn malformed(file: &str, reason: impl ToString) -> LoadError {
        LoadError::Malformed { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn option(name: &'static str, reason: impl ToString) -> LoadError {
        LoadError::Option { name, reason: reason.to_string() }
    }
}
