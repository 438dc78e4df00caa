//! Events: what webhooks tell, in the body that OpenAI's SDKs unwrap.

use serde_json::json;

use crate::{
    batch::{Batch, State},
    id::EventId,
};

/// The type of the event that a batch's terminal state causes.
pub const fn kind_of(state: State) -> Option<&'static str> {
    match state {
        State::Completed => Some("batch.completed"),
        State::Failed => Some("batch.failed"),
        State::Expired => Some("batch.expired"),
        State::Cancelled => Some("batch.cancelled"),
        _ => None,
    }
}

/// The exact bytes to sign and send: thin, without prompts or answers. `created_at` is the time of the terminal state.
pub fn payload(id: EventId, kind: &str, created_at: i64, batch: &Batch) -> String {
    json!({
        "id": id, "object": "event", "created_at": created_at, "type": kind,
        "data": { "id": batch.id, "status": batch.state.name(), "request_counts": batch.counts.to_json() },
    })
    .to_string()
}
