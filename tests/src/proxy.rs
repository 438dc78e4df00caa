//! A TCP proxy that breaks what passes through it: it delays, cuts, and holds connections half open. It knows no protocol.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What happens to bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// They pass later.
    Delay(Duration),
    /// They vanish, while the connections stay open: what a silent network partition looks like.
    Silence,
    /// Connections end at once, and new ones too.
    Cut,
}

/// A running proxy; it ends with its handle.
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    passed: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Passes connections on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (fault, watching) = watch::channel(Fault::None);
        let passed = Arc::default();
        let accepting = tokio::spawn(accept(listener, target, watching, Arc::clone(&passed))).abort_handle();
        Self { address, fault, passed, accepting }
    }

    /// Where to connect instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for open and new connections.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Bytes passed on so far, in both directions.
    pub fn bytes_passed(&self) -> u64 {
        self.passed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, fault: watch::Receiver<Fault>, passed: Arc<AtomicU64>) {
    // Aborting this task drops the set, which ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (fault, passed) = (fault.clone(), Arc::clone(&passed));
        connections.spawn(async move { connect(client, target, fault, passed).await });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, target: SocketAddr, mut fault: watch::Receiver<Fault>, passed: Arc<AtomicU64>) {
    if *fault.borrow() == Fault::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (up, down) = (fault.clone(), fault.clone());
    tokio::select! {
        // One direction may end before the other.
        _ = async { tokio::join!(pass(from_client, to_server, up, &passed), pass(from_server, to_client, down, &passed)) } => {}
        _ = fault.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: watch::Receiver<Fault>, passed: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let current = *fault.borrow();
        match current {
            Fault::None => {}
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Silence => continue,
            Fault::Cut => return,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        passed.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn bytes_pass_vanish_and_are_cut_off_as_told() {
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy::start(echo.local_addr().expect("an address")).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = echo.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy accepts");
        let mut byte = [0];
        let moment = Duration::from_millis(200);

        stream.write_all(b"a").await.expect("open");
        stream.read_exact(&mut byte).await.expect("the echo");
        assert_eq!((byte[0], proxy.bytes_passed()), (b'a', 2));

        proxy.set(Fault::Silence);
        stream.write_all(b"b").await.expect("still open");
        assert!(timeout(moment, stream.read(&mut byte)).await.is_err(), "silence is neither an answer nor an end");

        proxy.set(Fault::Cut);
        assert!(!matches!(timeout(moment, stream.read(&mut byte)).await, Ok(Ok(1..)) | Err(_)), "a cut connection ends");
    }
}
