//! Chat completions and completions: from the body to the backlog, and the answer on the connection that asked for it.
//! A call that waits hears nothing at first, so that an early fault has its own status; what comes then is in `keep_alive`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::request::{Endpoint, Request};
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::{JsonBody, name_ignored},
    call::Call,
    keep_alive::keep_alive,
    prefer::Prefer,
    requests::accepted,
};
use crate::{Failure, Producer, submit::Single};

/// What a body may say that is not as OpenAI and vLLM describe it. It is read in [`Request`].
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(super) struct GenerationBody {
    /// A model that `GET /v1/models` lists.
    model: String,
    /// How many choices the answer has. With a `seed`, each is what the seed plus its index gives alone.
    #[schema(minimum = 1, maximum = 16, default = 1)]
    n: Option<u32>,
    /// Log probabilities of the prompt's tokens, each with so many alternatives. They stand in the chat completion, or in the first choice
    /// of a completion.
    #[schema(minimum = 0, maximum = 20)]
    prompt_logprobs: Option<u8>,
}

/// Answers a chat. Waits for the answer, unless `Prefer: respond-async` asks for a place to look for it.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "generation", request_body(content = inline(GenerationBody), content_type = "application/json"),
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
    post, path = "/v1/completions", tag = "generation", request_body(content = inline(GenerationBody), content_type = "application/json"),
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
    let model = single.model.name.clone();
    // Thousands of calls may wait for long; none of them needs its body any more.
    drop(single);

    let settings = &producer.settings;
    let quiet = match prefer {
        Prefer::Answer => settings.silence,
        Prefer::Place { wait } => wait,
    };
    let mut response = match timeout(quiet.min(settings.wait_max), waiting.ended(&producer.backing)).await {
        Ok(ended) => ended.into_response(),
        Err(_) if prefer == Prefer::Answer => keep_alive(producer, waiting, began),
        Err(_) => accepted(call.id, endpoint, &model),
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
