//! One token that ends a process in order: cancelled by SIGTERM or Ctrl-C, watched by every loop.

use std::time::Duration;

pub use tokio_util::sync::CancellationToken as Shutdown;

/// Cancels the token at the first SIGTERM or Ctrl-C.
pub fn on_signal(shutdown: Shutdown) {
    tokio::spawn(async move {
        let terminate = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate => tracing::info!("SIGTERM: draining"),
            _ = tokio::signal::ctrl_c() => tracing::info!("interrupted: draining"),
        }
        shutdown.cancel();
    });
}

/// Waits, but not beyond the shutdown. False if the shutdown came first.
pub async fn pause(shutdown: &Shutdown, duration: Duration) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(duration) => true,
    }
}
