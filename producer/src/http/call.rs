//! What every call has: an id, a trace, a span, a measured duration, and errors in one shape. No body is ever looked into.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::{error::ApiError, id::RequestId, trace::TraceParent};
use futures::FutureExt;
use tracing::Instrument;

use super::error::{in_envelope, refusal};

/// One call. Its id is `x-request-id`, and that of the request it submits, if it submits one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: RequestId,
    pub(super) trace: TraceParent,
}

impl Call {
    fn begin(headers: &HeaderMap) -> Self {
        let callers: Option<TraceParent> = headers.get("traceparent").and_then(|text| text.to_str().ok()?.parse().ok());
        Self { id: RequestId::new(), trace: callers.map_or_else(TraceParent::root, |trace| trace.child()) }
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self::begin(&parts.headers)))
    }
}

/// Surrounds all routes, known and unknown.
pub(super) async fn answer(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let call = Call::begin(request.headers());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("call", request = %call.id, trace = call.trace.trace_id(), method, route);
    request.extensions_mut().insert(call);
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let response = handled.unwrap_or_else(|_| refusal(&ApiError::server()).into_response());
    let mut response = in_envelope(response).await;
    if let Ok(id) = HeaderValue::try_from(call.id.to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    measure(method, route, response.status().as_u16(), began);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response
}

fn measure(method: &'static str, route: String, status: u16, began: Instant) {
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
    metrics::counter!("millrace_http_requests_total", &labels).increment(1);
    metrics::histogram!("millrace_http_request_seconds", &labels[..2]).record(began.elapsed().as_secs_f64());
}

/// Methods are a client's choice; labels are not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::{Body, to_bytes},
        http::StatusCode,
        middleware::from_fn,
        routing::get,
    };
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn broken() -> StatusCode {
        panic!("a bug")
    }

    #[tokio::test]
    async fn a_panic_is_answered_like_any_other_fault() {
        let router = Router::new().route("/", get(broken)).layer(from_fn(answer));
        let response = TowerToHyperService::new(router).call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key("x-request-id"));
        let body: serde_json::Value = serde_json::from_slice(&to_bytes(response.into_body(), 1024).await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "server_error");
    }
}
