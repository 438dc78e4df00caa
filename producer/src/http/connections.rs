//! Connections: how many there are, how long a client may take to say what it wants, and how they end at the shutdown.

use std::{sync::Arc, time::Duration};

use axum::Router;
use backing::shutdown::Shutdown;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use crate::Settings;

/// Pause after a failed accept: the usual cause is a lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Accepts connections until the shutdown, then gives the running calls `settings.drain` to finish.
pub(super) async fn serve(listener: TcpListener, router: Router, settings: &Settings, shutdown: &Shutdown) {
    let permits = Arc::new(Semaphore::new(settings.connections_max));
    let connections = TaskTracker::new();
    let drained = Shutdown::new();
    while let Some((stream, permit)) = accept(&listener, &permits, shutdown).await {
        let (router, shutdown, drained) = (router.clone(), shutdown.clone(), drained.clone());
        let header_timeout = settings.header_timeout;
        connections.spawn(async move {
            tokio::select! {
                () = drained.cancelled() => {}
                () = converse(stream, router, header_timeout, shutdown) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "dropping connections that are still open");
        drained.cancel();
        connections.wait().await;
    }
}

/// The next connection with its permit; `None` at the shutdown.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shutdown: &Shutdown,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let next = async {
        // The permit comes first, so that further clients wait in the kernel's backlog and cost nothing.
        let permit = permits.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => tracing::warn!(%error, "cannot accept a connection"),
            }
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => None,
        connection = next => connection,
    }
}

/// Serves one connection; at the shutdown its running call is its last.
async fn converse(stream: TcpStream, router: Router, header_timeout: Duration, shutdown: Shutdown) {
    // Keep-alive bytes are worth nothing if they wait for more bytes.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
