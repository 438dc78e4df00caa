//! Faults in the middle of a batch: killed and stopped consumers, a killed and a wiped broker, connections that break. Every line is
//! answered exactly once all the same.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    batches::{chat_lines, checked_results},
    pipeline::{Backing, Pipeline, Plan},
    proxy::{Fault, Proxy},
    servers::{Place, Servers},
    waiting::{PATIENCE, eventually},
};

/// Within this work flows again after any one fault.
const RECOVERY: Duration = Duration::from_secs(30);
/// Some 15 lines a second and consumer: slow enough that faults find work under way.
const SLOW: &str = "--engine null --null-tokens-per-s 120 --slots 16";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_survives_killed_and_stopped_consumers_and_a_killed_and_wiped_broker() {
    let broker = Servers::start(&["rabbitmq", "--management"]);
    let own = broker.addresses();
    let mut place = Place::fresh().await;
    place.amqp_url = own["MILLRACE_TEST_AMQP_URL"].clone();
    let mut pipeline = Plan::new(Backing::Servers).on(place).consumers(2).model(SLOW).start().await;
    let input = chat_lines(2_000);
    let file = pipeline.client.upload(input.clone()).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    progress(&pipeline, &batch, 20).await;

    // A killed consumer: its claims die with its lease, and somebody else takes them.
    holds_claims(&pipeline).await;
    pipeline.consumers.remove(0).kill();
    pipeline.add_consumer("");
    progress(&pipeline, &batch, 20).await;
    eventually("a lost claim is claimed again", PATIENCE, async || {
        (pipeline.number("select count(*) from requests where epoch >= 2").await > 0).then_some(())
    })
    .await;

    // A stopped one comes back after others have taken its claims: its next write, be it a result or a heartbeat, is refused.
    holds_claims(&pipeline).await;
    pipeline.consumers[0].pause();
    let lost = "select count(*) from workers where lease_until > now()";
    eventually("the lease of the stopped consumer is over", PATIENCE, async || (pipeline.number(lost).await == 1).then_some(())).await;
    progress(&pipeline, &batch, 20).await;
    pipeline.consumers[0].resume();
    eventually("the stopped consumer finds itself fenced", PATIENCE, async || {
        let log = pipeline.consumers[0].log();
        (log.contains("came too late: fenced") || log.contains("worker fenced off")).then_some(())
    })
    .await;

    broker.kill("rabbitmq");
    broker.wipe("rabbitmq");
    broker.revive("rabbitmq");
    // Killed again within a second of declaring: the queues come back wedged, and have to be healed.
    let queues = format!("{}/api/queues", own["MILLRACE_TEST_MANAGEMENT_URL"]);
    eventually("the queues are declared again", PATIENCE, async || {
        let reply = reqwest::get(&queues).await.ok()?.json::<Value>().await.ok()?;
        reply.as_array().is_some_and(|queues| !queues.is_empty()).then_some(())
    })
    .await;
    broker.kill("rabbitmq");
    broker.revive("rabbitmq");
    progress(&pipeline, &batch, 20).await;

    let ended = pipeline.client.ended_batch(&batch).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(checked_results(&pipeline.client, &input, &ended).await.output.len(), 2_000);
    let charged = pipeline.number("select cast(coalesce(sum(prompt_tokens + completion_tokens), 0) as bigint) from charges").await;
    assert_eq!(ended["usage"]["total_tokens"], charged, "the ledger disagrees with the batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_survives_silent_and_cut_connections_to_the_broker_and_the_database() {
    let mut place = Place::fresh().await;
    let (to_broker, amqp_url) = proxied(&place.amqp_url).await;
    let (to_database, database_url) = proxied(&place.database_url).await;
    let direct = std::mem::replace(&mut place.database_url, database_url);
    place.amqp_url = amqp_url;
    let mut pipeline = Plan::new(Backing::Servers).on(place).model(SLOW).start().await;
    pipeline.database[1] = direct;
    let input = chat_lines(600);
    let file = pipeline.client.upload(input.clone()).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;

    for proxy in [&to_broker, &to_database] {
        for fault in [Fault::Cut, Fault::Silence, Fault::Delay(Duration::from_millis(50))] {
            progress(&pipeline, &batch, 10).await;
            proxy.set(fault);
            // Long enough that every connection has met the fault, shorter than the timeouts that end a silent one.
            let over = Instant::now() + Duration::from_secs(3);
            eventually("the fault has lasted", PATIENCE, async || (Instant::now() > over).then_some(())).await;
            proxy.set(Fault::None);
        }
    }
    let ended = pipeline.client.ended_batch(&batch).await;
    assert_eq!(ended["status"], "completed");
    checked_results(&pipeline.client, &input, &ended).await;
}

/// A proxy in front of the server in a URL, and the URL that leads through it.
async fn proxied(url: &str) -> (Proxy, String) {
    let (_, after) = url.split_once('@').expect("a URL with a user");
    let target = after.split('/').next().expect("a host");
    let proxy = Proxy::start(target.parse().expect("an address")).await;
    let through = url.replacen(target, &proxy.address().to_string(), 1);
    (proxy, through)
}

/// Waits until a worker is running requests.
async fn holds_claims(pipeline: &Pipeline) {
    eventually("requests are running", RECOVERY, async || {
        (pipeline.number("select count(*) from requests where state = 'running'").await > 0).then_some(())
    })
    .await;
}

/// Waits until more lines are answered: work flows.
async fn progress(pipeline: &Pipeline, batch: &str, more: u64) {
    let completed = async || pipeline.client.batch(batch).await["request_counts"]["completed"].as_u64();
    let before = completed().await.expect("counts");
    eventually("work flows", RECOVERY, async || completed().await.filter(|now| *now >= before + more)).await;
}
