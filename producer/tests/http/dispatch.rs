//! The dispatcher, step by step: who leads, who is served, and that a doorbell is rung once.

use std::collections::BTreeSet;

use backing::{
    Backing, Config,
    queue::Doorbells,
    store::{Body, NewSingle, Worker},
};
use domain::{
    id::{RequestId, WorkerId},
    model::Model,
    request::Endpoint,
};
use producer::{Dispatcher, Step};

const MODEL: &str = "tiny";

/// Real services and a worker with three slots, whose window therefore has room for six.
async fn services() -> (tempfile::TempDir, Backing, Doorbells) {
    let state = tempfile::tempdir().unwrap();
    let backing = Backing::open(&Config::embedded(state.path())).await.unwrap();
    backing.store.migrate().await.unwrap();
    let model = Model { name: MODEL.into(), context_length: 64, bytes_per_token: 4.0, tokens_per_s: None, created_at: 0 };
    backing.store.register_model(&model).await.unwrap();
    let worker = Worker { id: WorkerId::new(), model: Some(MODEL.into()), slots: 3 };
    backing.store.register_worker(&worker, 600.0).await.unwrap();
    let doorbells = backing.queue.subscribe(MODEL, 100);
    (state, backing, doorbells)
}

async fn submit(backing: &Backing, tenant: &str, count: usize) -> BTreeSet<RequestId> {
    let tenant = backing.store.ensure_tenant(tenant).await.unwrap();
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let new = NewSingle {
            id: RequestId::new(),
            tenant,
            endpoint: Endpoint::Completions,
            model: MODEL.into(),
            cost: 10,
            body: Body::Inline("{}".into()),
            deadline_seconds: 600,
            traceparent: None,
        };
        backing.store.insert_single(&new).await.unwrap();
        ids.insert(new.id);
    }
    ids
}

#[tokio::test]
async fn the_window_is_filled_once_and_a_quiet_tenant_is_served_beside_a_noisy_one() {
    let (_state, backing, mut doorbells) = services().await;
    submit(&backing, "noisy", 50).await;
    let quiet = submit(&backing, "quiet", 3).await;
    let mut dispatcher = Dispatcher::new(backing);
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Step::Rang(6));
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Step::Idle, "the window is full");
    let mut rang = BTreeSet::new();
    while rang.len() < 6 {
        rang.extend(doorbells.next(6).await.iter().map(|doorbell| doorbell.envelope.request()));
    }
    assert!(quiet.is_subset(&rang));
}

#[tokio::test]
async fn of_two_dispatchers_one_leads() {
    let (_state, backing, _doorbells) = services().await;
    submit(&backing, "owner", 20).await;
    let (mut first, mut second) = (Dispatcher::new(backing.clone()), Dispatcher::new(backing));
    assert_eq!(first.dispatch_once().await.unwrap(), Step::Rang(6));
    assert_eq!(second.dispatch_once().await.unwrap(), Step::Idle);
}

#[tokio::test]
async fn without_a_worker_work_waits() {
    let (_state, backing, _doorbells) = services().await;
    let workers = backing.store.live_workers().await.unwrap();
    submit(&backing, "owner", 1).await;
    backing.store.retire_worker(workers[0].id).await.unwrap();
    assert_eq!(Dispatcher::new(backing).dispatch_once().await.unwrap(), Step::Idle);
}
