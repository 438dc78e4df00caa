//! Why something was not accepted: the caller's fault, told precisely, or that of a backing service.

use domain::error::ApiError;

/// A refusal or a fault. `http/error.rs` turns it into a status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The caller is told what to change.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The caller is told to come back.
    #[error(transparent)]
    Backing(#[from] backing::Error),
}
