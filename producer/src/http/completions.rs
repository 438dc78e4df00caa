//! Chat completions and completions: from the body to the backlog, and the answer on the connection that asked for it.
//! A call that waits hears nothing at first, so that an early fault has its own status; then line feeds, which JSON ignores.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{
    error::ApiError,
    id::RequestId,
    request::{Endpoint, Request},
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{auth::Caller, body::JsonBody, call::Call, prefer::Prefer, requests::accepted};
use crate::{Failure, Producer, submit::Single, wait::Waiting};

/// Answers a chat. Waits for the answer, unless `Prefer: respond-async` asks for a place to look for it.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "generation", request_body(content = Object, content_type = "application/json"),
    params(("Prefer" = Option<String>, Header, description = "`respond-async` or `respond-async, wait=SECONDS`")),
    responses((status = 200, description = "The chat completion"), (status = 202, description = "Accepted; `Location` says where to look"))
)]
pub(super) async fn chat(
    State(producer): State<Arc<Producer>>,
    caller: Caller,
    call: Call,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    generate(producer, caller, call, &headers, Endpoint::ChatCompletions, body).await
}

/// Completes a text or a list of token ids. Waits like a chat completion.
#[utoipa::path(
    post, path = "/v1/completions", tag = "generation", request_body(content = Object, content_type = "application/json"),
    params(("Prefer" = Option<String>, Header, description = "`respond-async` or `respond-async, wait=SECONDS`")),
    responses((status = 200, description = "The completion"), (status = 202, description = "Accepted; `Location` says where to look"))
)]
pub(super) async fn text(
    State(producer): State<Arc<Producer>>,
    caller: Caller,
    call: Call,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    generate(producer, caller, call, &headers, Endpoint::Completions, body).await
}

async fn generate(
    producer: Arc<Producer>,
    caller: Caller,
    call: Call,
    headers: &HeaderMap,
    endpoint: Endpoint,
    body: Bytes,
) -> Result<Response, Failure> {
    let began = Instant::now();
    let prefer = Prefer::of(headers);
    let request = Request::parse(endpoint, &body)?;
    let ignored = request.ignored.join(", ");
    let model = producer.known_model(&request.model).await?;
    let deadline_seconds = deadline_seconds(&producer, prefer);
    let single = Single { id: call.id, tenant: caller.tenant, trace: call.trace, request, model, body, deadline_seconds };

    let mut waiting = producer.waiters.join(caller.tenant, call.id);
    if prefer == Prefer::Answer {
        waiting.care_alone();
    }
    producer.submit(&single).await?;

    let settings = &producer.settings;
    let quiet = match prefer {
        Prefer::Answer => settings.silence,
        Prefer::Place { wait } => wait,
    };
    let mut response = match tokio::time::timeout(quiet.min(settings.wait_max), waiting.ended(&producer.backing)).await {
        Ok(ended) => ended.into_response(),
        Err(_) if prefer == Prefer::Answer => keep_alive(producer, waiting, call.id, began),
        Err(_) => accepted(call.id, endpoint, &single.model.name),
    };
    name_ignored(response.headers_mut(), &ignored);
    Ok(response)
}

/// A waiting call has no use for an answer after it has gone; whoever looks for the answer later has the usual time.
fn deadline_seconds(producer: &Producer, prefer: Prefer) -> u64 {
    let settings = &producer.settings;
    match prefer {
        Prefer::Answer => (settings.wait_max + settings.vanished_after).as_secs().max(1),
        Prefer::Place { .. } => settings.deadline_seconds,
    }
}

/// Tells which unknown parameters had no effect, as far as their names fit a header.
pub(super) fn name_ignored(headers: &mut HeaderMap, names: &str) {
    if !names.is_empty()
        && let Ok(names) = HeaderValue::from_str(&names.chars().take(1024).collect::<String>())
    {
        headers.insert("x-millrace-ignored-params", names);
    }
}

/// 200 and line feeds until the answer is there. It is too late for another status: a fault drops the connection.
fn keep_alive(producer: Arc<Producer>, waiting: Waiting, id: RequestId, began: Instant) -> Response {
    let until = began + producer.settings.wait_max;
    let rest = stream::unfold(Some(waiting), move |waiting| {
        let producer = producer.clone();
        async move {
            let mut waiting = waiting?;
            let beat = next_beat(&producer, &mut waiting, until).await;
            let goes_on = matches!(beat, Beat::Wait);
            Some((beat.bytes(id), goes_on.then_some(waiting)))
        }
    });
    let body = Body::from_stream(stream::iter([Ok(LINE_FEED)]).chain(rest));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, body).into_response()
}

const LINE_FEED: Bytes = Bytes::from_static(b"\n");

/// What comes next on a connection that is kept alive.
enum Beat {
    Wait,
    Answer(Bytes),
    Fault(u16),
    TooLong,
}

async fn next_beat(producer: &Producer, waiting: &mut Waiting, until: Instant) -> Beat {
    tokio::select! {
        ended = waiting.ended(&producer.backing) => if ended.status < 400 { Beat::Answer(ended.body) } else { Beat::Fault(ended.status) },
        () = tokio::time::sleep_until(until) => Beat::TooLong,
        () = tokio::time::sleep(producer.settings.keep_alive.max(Duration::from_millis(1))) => Beat::Wait,
    }
}

impl Beat {
    /// The next chunk; an error ends the connection without the last chunk, which no client takes for an answer.
    fn bytes(self, id: RequestId) -> Result<Bytes, ApiError> {
        match self {
            Self::Wait => Ok(LINE_FEED),
            Self::Answer(body) => Ok(body),
            Self::Fault(status) => {
                tracing::info!(request = %id, status, "a late fault drops the connection");
                Err(ApiError::server())
            }
            Self::TooLong => {
                tracing::info!(request = %id, "waited too long; the connection is dropped");
                Err(ApiError::server())
            }
        }
    }
}
