//! A line to the broker: one connection, made on first use and made anew, for as long as the process lives, whenever it ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use lapin::uri::AMQPUri;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, link::Link};

pub(super) struct Line {
    uri: AMQPUri,
    name: &'static str,
    state: watch::Sender<State>,
    started: AtomicBool,
    stop: CancellationToken,
}

#[derive(Clone)]
enum State {
    /// Nobody knows yet whether the broker is there.
    Dialling,
    Up(Arc<Link>),
    /// The last connection ended, or the last attempt failed.
    Down,
}

impl Line {
    pub(super) fn new(uri: AMQPUri, name: &'static str, stop: CancellationToken) -> Self {
        Self { uri, name, state: watch::Sender::new(State::Dialling), started: AtomicBool::new(false), stop }
    }

    /// Starts connecting, if nobody did before.
    pub(super) fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Relaxed) {
            let line = self.clone();
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move { line.keep().await }));
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.started.load(Relaxed)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(link) if !link.is_over() && !link.is_blocked())
    }

    /// Whether publishing would only wait: the broker was not there when last asked, or it reads nothing because of an alarm.
    pub(super) fn is_hopeless(&self) -> bool {
        match &*self.state.borrow() {
            State::Dialling => false,
            State::Up(link) => link.is_blocked(),
            State::Down => true,
        }
    }

    /// The connection, as soon as there is one.
    pub(super) async fn link(self: &Arc<Self>) -> Arc<Link> {
        self.start();
        let mut state = self.state.subscribe();
        loop {
            if let State::Up(link) = &*state.borrow_and_update()
                && !link.is_over()
            {
                return link.clone();
            }
            if state.changed().await.is_err() {
                // The line holds the sender, so this cannot come; and if it did, there would be no link any more.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn keep(&self) {
        let mut backoff = Backoff::default();
        loop {
            match Link::open(&self.uri, self.name).await {
                Ok(link) => self.hold(Arc::new(link)).await,
                // Once is enough, until something changes.
                Err(error) if !matches!(*self.state.borrow(), State::Down) => {
                    tracing::warn!(line = self.name, %error, "the broker is not reachable");
                }
                Err(error) => tracing::debug!(line = self.name, %error, "the broker is still not reachable"),
            }
            self.state.send_replace(State::Down);
            backoff.pause().await;
        }
    }

    async fn hold(&self, link: Arc<Link>) {
        tracing::info!(line = self.name, "connected to the broker");
        metrics::counter!("millrace_queue_connections_total", "line" => self.name).increment(1);
        self.state.send_replace(State::Up(link.clone()));
        link.ended().await;
        tracing::warn!(line = self.name, "the connection to the broker ended; connecting again");
    }
}
