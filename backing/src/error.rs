//! What can go wrong with a backing service.

use std::time::Duration;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A fault of a backing service. All but `Config` and `Corrupt` may go away by themselves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can never work; the text says which and why.
    #[error("{0}")]
    Config(String),
    /// No answer in time; the operation may or may not have happened.
    #[error("{what} did not answer within {after:?}")]
    Timeout { what: &'static str, after: Duration },
    /// The database refused or is not reachable.
    #[error("database: {0}")]
    Store(#[from] sqlx::Error),
    /// The broker refused or is not reachable.
    #[error("queue: {0}")]
    Queue(#[from] lapin::Error),
    /// The object store refused or is not reachable.
    #[error("object store: {0}")]
    Objects(String),
    /// There is no object under this key.
    #[error("no object `{0}`")]
    NoObject(String),
    /// A stored value that no version of this program wrote.
    #[error("unreadable value in the store: {0}")]
    Corrupt(String),
}

/// Bounds a wait: the future's result, or [`Error::Timeout`] naming `what`.
pub async fn within<T, E: Into<Error>>(
    after: Duration,
    what: &'static str,
    future: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T> {
    match tokio::time::timeout(after, future).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Error::Timeout { what, after }),
    }
}
