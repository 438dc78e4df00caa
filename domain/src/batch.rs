//! A batch: many requests from one file, its states, and its object on the wire.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    id::{BatchId, FileId, TenantId},
    request::Endpoint,
    usage::Usage,
};

/// Where a batch stands. `failed` means that the input file was refused; a batch whose lines all failed is `completed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Validating,
    Failed,
    InProgress,
    Finalizing,
    Completed,
    Expired,
    Cancelling,
    Cancelled,
}

/// What can happen to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every line of the input file is good.
    Validated,
    /// The input file is bad.
    Rejected,
    /// The last line has its result.
    LinesEnded,
    /// Its owner does not want it any more.
    Cancel,
    /// The result files of a finished, cancelled or overdue batch are written.
    Assembled,
}

impl State {
    /// All states, in the order of a batch's life.
    pub const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the state is final.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }

    /// The state after an event; `None` if the event cannot happen here.
    /// A batch that is assembled while `in_progress` is one whose window has closed.
    pub const fn next(self, event: Event) -> Option<Self> {
        use Event as E;
        Some(match (self, event) {
            (Self::Validating, E::Validated) => Self::InProgress,
            (Self::Validating, E::Rejected) => Self::Failed,
            (Self::InProgress, E::LinesEnded) => Self::Finalizing,
            (Self::Validating | Self::InProgress | Self::Cancelling, E::Cancel) => Self::Cancelling,
            (Self::Finalizing, E::Assembled) => Self::Completed,
            (Self::InProgress, E::Assembled) => Self::Expired,
            (Self::Cancelling, E::Assembled) => Self::Cancelled,
            _ => return None,
        })
    }
}

/// How many lines there are and how they ended. Kept by every finish, never recounted on read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
}

impl Counts {
    /// Lines with a terminal result.
    pub const fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled + self.expired
    }

    /// `request_counts`: lines of the output file are `completed`, lines of the error file are `failed`.
    pub fn to_json(&self) -> Value {
        json!({ "total": self.total, "completed": self.succeeded, "failed": self.failed + self.cancelled + self.expired })
    }
}

/// Why an input file was refused; an entry of `errors.data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchError {
    pub code: String,
    pub message: String,
    pub param: Option<String>,
    /// Physical line, counted from 1.
    pub line: Option<u64>,
}

/// Where the terminal event of a batch goes besides the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: String,
    /// `whsec_…`; signs the deliveries.
    pub secret: Option<String>,
}

/// Unix seconds of the states a batch has entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    pub created: i64,
    /// End of the completion window.
    pub expires: i64,
    pub in_progress: Option<i64>,
    pub finalizing: Option<i64>,
    pub completed: Option<i64>,
    pub failed: Option<i64>,
    pub expired: Option<i64>,
    pub cancelling: Option<i64>,
    pub cancelled: Option<i64>,
}

/// One batch of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub id: BatchId,
    pub tenant: TenantId,
    pub endpoint: Endpoint,
    pub input_file: FileId,
    /// As sent, such as `24h`.
    pub completion_window: String,
    pub metadata: Option<Value>,
    pub state: State,
    /// The one model of all lines; none if they mix models or are not read yet.
    pub model: Option<String>,
    pub counts: Counts,
    pub usage: Usage,
    pub errors: Vec<BatchError>,
    pub output_file: Option<FileId>,
    pub error_file: Option<FileId>,
    /// Lifetime of the result files, in seconds.
    pub output_seconds: Option<u64>,
    pub webhook: Option<Webhook>,
    pub stamps: Stamps,
}

impl Batch {
    /// The `batch` object of the API.
    pub fn to_json(&self) -> Value {
        let errors = (!self.errors.is_empty()).then(|| json!({ "object": "list", "data": self.errors }));
        let usage = self.state.is_terminal().then(|| self.usage.of_batch());
        json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint.path(), "model": self.model, "errors": errors,
            "input_file_id": self.input_file, "completion_window": self.completion_window, "status": self.state.name(),
            "output_file_id": self.output_file, "error_file_id": self.error_file,
            "created_at": self.stamps.created, "in_progress_at": self.stamps.in_progress, "expires_at": self.stamps.expires,
            "finalizing_at": self.stamps.finalizing, "completed_at": self.stamps.completed, "failed_at": self.stamps.failed,
            "expired_at": self.stamps.expired, "cancelling_at": self.stamps.cancelling, "cancelled_at": self.stamps.cancelled,
            "request_counts": self.counts.to_json(), "usage": usage, "metadata": self.metadata,
            "millrace": { "webhook": self.webhook.as_ref().map(|webhook| &webhook.url) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_is_reachable_from_validating_alone_and_terminal_states_never_change() {
        let events = [Event::Validated, Event::Rejected, Event::LinesEnded, Event::Cancel, Event::Assembled];
        for state in State::ALL {
            for event in events {
                let next = state.next(event);
                assert!(next != Some(State::Failed) || state == State::Validating);
                assert!(next.is_none() || !state.is_terminal(), "{state:?} {event:?}");
            }
            assert_eq!(State::from_name(state.name()), Some(state));
        }
    }

    #[test]
    fn a_second_cancel_is_welcome_and_a_finished_batch_cannot_be_cancelled() {
        assert_eq!(State::Cancelling.next(Event::Cancel), Some(State::Cancelling));
        assert_eq!(State::Finalizing.next(Event::Cancel), None);
        assert_eq!(State::Completed.next(Event::Cancel), None);
    }
}
