//! A thousand chats at once from one client against `serve` with millrace-nano: none is refused, memory stays small, and requests that
//! need not wait are accepted quickly meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    client::Client,
    pipeline::{Backing, Plan},
};
use tokio::task::JoinSet;

use crate::figures::Figures;

const CHATS: usize = 1_000;
const MEBIBYTE: f64 = (1 << 20) as f64;

pub(crate) async fn prove(figures: &mut Figures) {
    let pipeline = Plan::new(Backing::Embedded).model("--engine native").start().await;
    let began = Instant::now();
    let mut chats = JoinSet::new();
    for number in 0..CHATS {
        let client = pipeline.client.clone();
        chats.spawn(async move { client.post("/v1/chat/completions", &chat(number)).await });
    }
    let waiting = AtomicBool::new(true);
    let (answered, mut accepted) = tokio::join!(
        async {
            let mut answered = 0;
            while let Some(reply) = chats.join_next().await {
                let reply = reply.expect("a chat does not panic");
                answered += usize::from(reply.status == 200 && reply.json()["choices"][0]["message"]["content"].is_string());
            }
            waiting.store(false, Ordering::Relaxed);
            answered
        },
        accept_meanwhile(&pipeline.client, &waiting),
    );
    figures.at_least("chats answered of 1000", answered as f64, CHATS as f64);
    figures.note("seconds for all", began.elapsed().as_secs_f64());
    figures.at_most("memory of the server, MiB", pipeline.server.resident_bytes_max() as f64 / MEBIBYTE, 1024.0);
    accepted.sort_unstable();
    assert!(accepted.len() >= 100, "too few for a 99th percentile: {}", accepted.len());
    let p99 = accepted[accepted.len() * 99 / 100];
    figures.at_most("`Prefer: respond-async` accepted meanwhile, p99 in ms", p99.as_secs_f64() * 1000.0, 100.0);
}

/// Posts single requests that are answered later, at a steady rate, while others wait; returns how long each took to be accepted.
async fn accept_meanwhile(client: &Client, waiting: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while waiting.load(Ordering::Relaxed) {
        ticks.tick().await;
        let began = Instant::now();
        let reply = client.post_with("/v1/chat/completions", ("prefer", "respond-async"), &chat(times.len())).await;
        times.push(began.elapsed());
        assert_eq!(reply.status, 202, "{}", String::from_utf8_lossy(&reply.bytes));
    }
    times
}

fn chat(number: usize) -> Value {
    let content =
        format!("Extract these fields as JSON: store, total.\n\nHarbour Paper Ltd\nReceipt {number}\n12 x labels 38.68\nTotal: 46.42 EUR");
    json!({ "model": "millrace-nano", "messages": [{ "role": "user", "content": content }], "max_tokens": 24, "temperature": 0 })
}
