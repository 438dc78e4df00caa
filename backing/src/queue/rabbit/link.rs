//! One live connection to the broker. It is never repaired: at the first doubt it is given up, and `line` makes another.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, tcp::OwnedTLSConfig, uri::AMQPScheme, uri::AMQPUri};
use tokio::{net::lookup_host, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{super::lock, ANSWER_WITHIN};
use crate::{Error, Result, error::within};

/// TCP, TLS and AMQP's handshake together.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How often a connection is looked at. Whoever uses it notices its end at once; this is for the idle ones.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Link {
    connection: Connection,
    socket: Socket,
    over: CancellationToken,
}

impl Link {
    /// Connects. lapin's own recovery stays off: it loses channels that the broker closed, tells nobody of what was redelivered, and
    /// gives up after a while; rebuilding everything is simpler to get right.
    pub(super) async fn open(uri: &AMQPUri, name: &str) -> Result<Self> {
        let socket = Socket::default();
        let properties = ConnectionProperties::default().with_connection_name(format!("millrace {name}").into());
        let kept = socket.clone();
        let connecting = Connection::connector(
            uri.clone(),
            lapin::runtime::default_runtime()?,
            async move |uri: AMQPUri, runtime| {
                let dialling = async {
                    let addresses = lookup_host((uri.authority.host.as_str(), uri.authority.port)).await?;
                    let mut stream = AsyncTcpStream::connect(&runtime, addresses.collect::<Vec<_>>()).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        kept.keep(plain.get_ref())?;
                    }
                    if uri.scheme == AMQPScheme::AMQPS {
                        stream = stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await?;
                    }
                    io::Result::Ok(stream)
                };
                Ok(timeout(CONNECT_WITHIN, dialling).await.map_err(io::Error::from)??)
            },
            properties,
        );
        match within(CONNECT_WITHIN, "the broker", connecting).await {
            Ok(connection) => Ok(Self { connection, socket, over: CancellationToken::new() }),
            Err(error) => {
                socket.cut();
                Err(error)
            }
        }
    }

    /// A new channel. That it opens within the bound also shows that the broker is alive.
    pub(super) async fn channel(&self) -> Result<Channel> {
        within(ANSWER_WITHIN, "a channel", self.connection.create_channel()).await
    }

    /// Gives the connection up, for everybody who uses it.
    pub(super) fn doubt(&self) {
        self.over.cancel();
        self.socket.cut();
    }

    /// Gives the connection up, unless the fault is a mere refusal, which closes one channel only.
    pub(super) fn blame(&self, error: &Error) {
        if !matches!(error, Error::Queue(error) if error.is_amqp_soft_error()) {
            self.doubt();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Cancelled when the connection is given up.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Whether an alarm keeps the broker from reading what is published.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Waits until the connection is given up, or has ended by itself.
    pub(super) async fn ended(&self) {
        while self.connection.status().connected() {
            if timeout(LOOK_EVERY, self.over.cancelled()).await.is_ok() {
                return;
            }
        }
        self.doubt();
    }
}

/// The socket below a connection. lapin's I/O thread lives until it ends, and over a hung broker or a cut cable that may be never: whoever
/// gives a connection up ends its socket.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &impl AsFd) -> io::Result<()> {
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        stream.set_nodelay(true)?;
        *lock(&self.0) = Some(stream);
        Ok(())
    }

    fn cut(&self) {
        if let Some(stream) = lock(&self.0).take() {
            // It fails only on a socket that has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
