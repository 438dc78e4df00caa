//! Wake-ups between processes: LISTEN/NOTIFY on Postgres, in-process on SQLite. A hint, never the truth.

use super::*;

/// Something changed; look at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// New work can be dispatched, or there is new room for it (a worker came, a window drained).
    Queued,
    /// A single request has its result, or was cancelled.
    Ended(RequestId),
    /// A batch entered another state.
    Batch(BatchId),
    /// An API key was revoked.
    Keys,
    /// A webhook delivery is due.
    Event,
}

/// The stream of changes of one listener.
pub struct Changes;

impl Changes {
    /// The next change. A listener that fell behind or a broken connection shows as `Change::Queued`: look everywhere.
    pub async fn next(&mut self) -> Change {
        todo!()
    }
}
