//! Which addresses a webhook may reach. URLs come from clients, so the address that is really dialled is judged, in the resolver of
//! the HTTP client: a name that resolves differently the next time gains nothing. Literal addresses bypass it and are judged here.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use url::{Host, Url};

use crate::settings::WebhookSettings;

mod ranges;

/// One attempt in all, and its connection alone.
pub(super) const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nothing is sent to a URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("not a URL")]
    Malformed,
    #[error("scheme `{0}` is not allowed")]
    Scheme(String),
    #[error("a user name or password in the URL is not allowed")]
    UserInfo,
    #[error("port {0} is not allowed")]
    Port(u16),
    #[error("address {0} is not allowed")]
    Address(IpAddr),
}

/// The operator's rules and the clients that keep them.
pub(super) struct Guard {
    settings: WebhookSettings,
    /// Dials public addresses and those that the operator allows.
    open: Client,
    /// Dials only addresses that the operator allows: for ports that are not on the list.
    inner: Client,
}

impl Guard {
    pub(super) fn new(settings: &WebhookSettings) -> reqwest::Result<Self> {
        let client = |public| client(Arc::new(JudgingResolver { allow: settings.allow.clone(), public }), settings.allow_http);
        Ok(Self { settings: settings.clone(), open: client(true)?, inner: client(false)? })
    }

    /// The parsed URL and the client that may send to it.
    pub(super) fn admit(&self, url: &str) -> Result<(&Client, Url), Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Malformed)?;
        if url.scheme() != "https" && !(self.settings.allow_http && url.scheme() == "http") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        let port = url.port_or_known_default().ok_or(Refused::Malformed)?;
        let public = self.settings.ports.contains(&port);
        let address = match url.host().ok_or(Refused::Malformed)? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        if let Some(address) = address
            && !ranges::may_dial(address, &self.settings.allow, public)
        {
            return Err(if ranges::may_dial(address, &self.settings.allow, true) {
                Refused::Port(port)
            } else {
                Refused::Address(address)
            });
        }
        if address.is_none() && !public && self.settings.allow.is_empty() {
            return Err(Refused::Port(port));
        }
        Ok((if public { &self.open } else { &self.inner }, url))
    }
}

/// No redirects, no proxies from the environment, no connection kept for the next tenant.
fn client(resolver: Arc<JudgingResolver>, allow_http: bool) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(resolver)
        .redirect(Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .https_only(!allow_http)
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Resolves names and drops the addresses that must not be dialled.
struct JudgingResolver {
    allow: Vec<IpNet>,
    /// Whether public addresses may be dialled, too.
    public: bool,
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, public) = (self.allow.clone(), self.public);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|address| ranges::may_dial(address.ip(), &allow, public)).collect();
            if permitted.is_empty() {
                return Err(format!("`{}` has no address that is allowed", name.as_str()).into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
