//! Events on their way to their receivers: signed, attempted, recorded, repeated. An attempt is recorded after it was made, so that a
//! crash in between repeats it (same `webhook-id`) and never loses it. How often and where to is in `schedule.rs` and `guard.rs`.

mod guard;
mod schedule;
mod sign;

use std::{
    collections::HashMap,
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use backing::store::{Attempt, Delivery, Store};
use chrono::Utc;
use domain::id::TenantId;
use reqwest::{Response, StatusCode, header};
use tokio::{sync::Semaphore, task::JoinSet};
use url::Url;

use crate::{
    settings::WebhookSettings,
    turn::{Step, backoff},
};
use guard::{Guard, TOTAL_TIMEOUT};
use sign::sign;

/// Deliveries in hand at once; those to one endpoint; those of them that are being attempted.
const DELIVERIES_MAX: usize = 512;
const ENDPOINT_DELIVERIES_MAX: usize = 40;
const ENDPOINT_ATTEMPTS_AT_ONCE: usize = 8;
/// Bytes read of an answer, and characters of it that are kept.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const EXCERPT_CHARS: usize = 200;
const RECORD_TRIES: u32 = 3;

/// Sends due deliveries. One slow endpoint fills its own lane and no other.
pub struct Courier {
    post: Arc<Post>,
    on_the_way: JoinSet<Endpoint>,
    lanes: HashMap<Endpoint, Lane>,
}

/// Whose URL it is and where it leads.
type Endpoint = (TenantId, String);

struct Lane {
    deliveries: usize,
    attempts: Arc<Semaphore>,
}

impl Courier {
    /// Fails only if the machine's TLS roots cannot be read.
    pub fn new(store: Store, settings: &WebhookSettings) -> anyhow::Result<Self> {
        let post = Post { store, guard: Guard::new(settings)?, scale: settings.schedule_scale };
        Ok(Self { post: Arc::new(post), on_the_way: JoinSet::new(), lanes: HashMap::new() })
    }

    /// Takes what is due and sets it on its way, without waiting for how it ends.
    pub async fn deliver_once(&mut self) -> anyhow::Result<Step> {
        while let Some(done) = self.on_the_way.try_join_next() {
            self.leave_lane(done);
        }
        if self.on_the_way.len() >= DELIVERIES_MAX {
            if let Some(done) = self.on_the_way.join_next().await {
                self.leave_lane(done);
            }
            return Ok(Step::Worked);
        }
        let limit = (DELIVERIES_MAX - self.on_the_way.len()) as u32;
        let taken_at = Instant::now();
        let taken = self.post.store.take_deliveries(limit, self.post.hold().as_secs_f64()).await?;
        if taken.is_empty() {
            return Ok(Step::Idle);
        }
        for delivery in taken {
            self.enter_lane(delivery, taken_at);
        }
        Ok(Step::Worked)
    }

    /// Waits until nothing is on its way any more.
    pub async fn arrive(&mut self) {
        while let Some(done) = self.on_the_way.join_next().await {
            self.leave_lane(done);
        }
    }

    /// A delivery to a full lane is left alone: it is due again when its hold ends.
    fn enter_lane(&mut self, delivery: Delivery, taken_at: Instant) {
        let endpoint = (delivery.tenant, origin(&delivery.url));
        let new_lane = || Lane { deliveries: 0, attempts: Arc::new(Semaphore::new(ENDPOINT_ATTEMPTS_AT_ONCE)) };
        let lane = self.lanes.entry(endpoint.clone()).or_insert_with(new_lane);
        if lane.deliveries >= ENDPOINT_DELIVERIES_MAX {
            return;
        }
        lane.deliveries += 1;
        let (post, attempts) = (self.post.clone(), lane.attempts.clone());
        self.on_the_way.spawn(async move {
            // Never closed; and an attempt that would outlast its hold would only be repeated.
            if let Ok(_turn) = attempts.acquire().await
                && taken_at.elapsed() + TOTAL_TIMEOUT <= post.hold()
            {
                post.deliver(&delivery).await;
            }
            endpoint
        });
    }

    fn leave_lane(&mut self, done: Result<Endpoint, tokio::task::JoinError>) {
        let Ok(endpoint) = done else { return };
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.deliveries -= 1;
            if lane.deliveries == 0 {
                self.lanes.remove(&endpoint);
            }
        }
    }
}

fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// What every delivery needs.
struct Post {
    store: Store,
    guard: Guard,
    scale: f64,
}

impl Post {
    /// How long a taken delivery is ours; after a crash it is due again by then.
    fn hold(&self) -> Duration {
        Duration::from_secs(60).mul_f64(self.scale).clamp(TOTAL_TIMEOUT + Duration::from_secs(5), Duration::from_secs(60))
    }

    async fn deliver(&self, delivery: &Delivery) {
        let attempt = self.attempt(delivery).await;
        let outcome = match &attempt {
            Attempt::Delivered { .. } => "delivered",
            Attempt::Retry { .. } => "retry",
            Attempt::Exhausted { .. } => "exhausted",
        };
        metrics::counter!("millrace_webhook_attempts_total", "outcome" => outcome).increment(1);
        tracing::info!(delivery = %delivery.id, attempt = delivery.attempts + 1, outcome, "webhook attempted");
        for tries in 0..RECORD_TRIES {
            match self.store.record_attempt(delivery, &attempt).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(delivery = %delivery.id, "cannot record an attempt: {error}"),
            }
            tokio::time::sleep(backoff(tries)).await;
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let (client, url) = match self.guard.admit(&delivery.url) {
            Ok(admitted) => admitted,
            // An operator who sees this can allow it while the schedule lasts.
            Err(refused) => return self.repeat(delivery, None, refused.to_string(), 0.0),
        };
        let (id, timestamp) = (delivery.id.to_string(), Utc::now().timestamp());
        let mut request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .body(delivery.payload.clone());
        // Without a secret there is nothing that a receiver could check.
        if let Some(secret) = &delivery.secret {
            request = request.header("webhook-signature", sign(secret, &id, timestamp, &delivery.payload));
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => Attempt::Delivered { status: response.status().as_u16() },
            Ok(response) => self.failed(delivery, response).await,
            Err(error) => self.repeat(delivery, None, with_causes(error), 0.0),
        }
    }

    async fn failed(&self, delivery: &Delivery, response: Response) -> Attempt {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wish = schedule::wish(status.as_u16(), retry_after, self.scale, Utc::now());
        let error = format!("{status}: {}", excerpt(response).await);
        if status == StatusCode::GONE {
            return Attempt::Exhausted { status: Some(status.as_u16()), error };
        }
        self.repeat(delivery, Some(status.as_u16()), error, wish)
    }

    fn repeat(&self, delivery: &Delivery, status: Option<u16>, error: String, seconds_min: f64) -> Attempt {
        match schedule::delay(delivery.attempts, self.scale, rand::random_range(0.8..1.2)) {
            Some(seconds) => Attempt::Retry { status, error, seconds: seconds.max(seconds_min) },
            None => Attempt::Exhausted { status, error },
        }
    }
}

/// The beginning of an answer, for the log of deliveries.
async fn excerpt(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).chars().filter(|character| !character.is_control()).take(EXCERPT_CHARS).collect()
}

/// reqwest names the URL, which may hold a token, and leaves out the cause, which tells what is wrong.
fn with_causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
