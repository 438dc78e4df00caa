//! A connection on which a call waits for long: 200, line feeds, which JSON ignores, and in the end the answer.
//! Another status can no longer be sent, so a fault drops the connection, which no client takes for an answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{Producer, wait::Waiting};

const LINE_FEED: Bytes = Bytes::from_static(b"\n");
/// A pause of nothing would be a busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Why a connection was dropped. The client sees only that it was.
#[derive(Debug, thiserror::Error)]
enum Dropped {
    #[error("the request failed with status {0}")]
    Fault(u16),
    #[error("the wait was too long")]
    TooLong,
}

/// Keeps a call alive until its request has ended, but not beyond the longest wait.
pub(super) fn keep_alive(producer: Arc<Producer>, waiting: Waiting, began: Instant) -> Response {
    let until = began + producer.settings.wait_max;
    let rest = stream::unfold(Some(waiting), move |waiting| {
        let producer = producer.clone();
        async move {
            let mut waiting = waiting?;
            match next_chunk(&producer, &mut waiting, until).await {
                Ok(None) => Some((Ok(LINE_FEED), Some(waiting))),
                Ok(Some(answer)) => Some((Ok(answer), None)),
                Err(dropped) => {
                    tracing::info!(request = %waiting.id(), reason = %dropped, "a waiting call is dropped");
                    Some((Err(dropped), None))
                }
            }
        }
    });
    let body = Body::from_stream(stream::iter([Ok(LINE_FEED)]).chain(rest));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies such as nginx would hold the line feeds back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, body).into_response()
}

/// The answer, or `None` when it is time for a line feed.
async fn next_chunk(producer: &Producer, waiting: &mut Waiting, until: Instant) -> Result<Option<Bytes>, Dropped> {
    tokio::select! {
        ended = waiting.ended(&producer.backing) => match ended.status {
            200..=299 => Ok(Some(ended.body)),
            status => Err(Dropped::Fault(status)),
        },
        () = sleep_until(until) => Err(Dropped::TooLong),
        () = sleep(producer.settings.keep_alive.max(PAUSE_MIN)) => Ok(None),
    }
}
