//! Wake-ups between processes: LISTEN/NOTIFY on Postgres, in-process on SQLite. A hint, never the truth.

use std::{sync::Arc, time::Duration};

use sqlx::{
    Executor,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use uuid::Uuid;

use super::*;
use crate::{Error, error::within};

const CHANNEL: &str = "millrace";
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// After so much silence the connection is tried: one that was cut half-way never ends by itself.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Changes that a slow listener may be behind; a listener further behind is told to look everywhere.
pub(super) const BEHIND_MAX: usize = 4096;

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

impl Change {
    /// The payload of the notification.
    pub(super) fn text(self) -> String {
        match self {
            Self::Queued => "queued".to_owned(),
            Self::Ended(id) => format!("ended {}", id.uuid()),
            Self::Batch(id) => format!("batch {}", id.uuid()),
            Self::Keys => "keys".to_owned(),
            Self::Event => "event".to_owned(),
        }
    }

    /// Reads a payload; `None` for one of another version of this program.
    fn of_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("ended", id)) => Uuid::parse_str(id).ok().map(|id| Self::Ended(id.into())),
            Some(("batch", id)) => Uuid::parse_str(id).ok().map(|id| Self::Batch(id.into())),
            None if text == "queued" => Some(Self::Queued),
            None if text == "keys" => Some(Self::Keys),
            None if text == "event" => Some(Self::Event),
            _ => None,
        }
    }
}

/// The stream of changes of one listener.
pub struct Changes {
    pub(super) receiver: Receiver<Change>,
    /// The sender lives as long as anybody listens.
    pub(super) _inner: Arc<Inner>,
}

impl Changes {
    /// The next change. A listener that fell behind or a broken connection shows as `Change::Queued`: look everywhere.
    pub async fn next(&mut self) -> Change {
        match self.receiver.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(_)) => Change::Queued,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Forwards the notifications of Postgres, for as long as the store lives. Whatever may have been missed shows as `Queued`.
pub(super) async fn forward(options: PgConnectOptions, changes: Sender<Change>) {
    let mut pause = PAUSE_MIN;
    loop {
        let error = match connect(&options).await {
            Ok(mut listener) => {
                pause = PAUSE_MIN;
                // Nobody minds if nobody listens.
                let _ = changes.send(Change::Queued);
                listen(&mut listener, &changes).await
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "not listening to the database; retrying");
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgListener> {
    // A pool of its own: this connection is never given back.
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).connect_lazy_with(options.clone());
    let mut listener = within(CONNECT_MAX, "the database", PgListener::connect_with(&pool)).await?;
    listener.eager_reconnect(false);
    within(CONNECT_MAX, "the database", listener.listen(CHANNEL)).await?;
    Ok(listener)
}

/// Listens until the connection breaks.
async fn listen(listener: &mut PgListener, changes: &Sender<Change>) -> Error {
    loop {
        match tokio::time::timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                let change = Change::of_text(notification.payload()).unwrap_or(Change::Queued);
                let _ = changes.send(change);
            }
            Ok(Ok(None)) => return sqlx::Error::WorkerCrashed.into(),
            Ok(Err(error)) => return error.into(),
            Err(_) => {
                if let Err(error) = within(CONNECT_MAX, "the database", listener.execute("select 1")).await {
                    return error;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_its_text_form_and_unknown_texts_are_no_change() {
        for change in [Change::Queued, Change::Ended(RequestId::new()), Change::Batch(BatchId::new()), Change::Keys, Change::Event] {
            assert_eq!(Change::of_text(&change.text()), Some(change));
        }
        for text in ["", "ended", "ended x", "batch ", "later version"] {
            assert_eq!(Change::of_text(text), None, "{text}");
        }
    }
}
