//! Who calls: an API key, known by its hash. A handler that takes a [`Caller`] cannot run without one, and its body is still unread.

use std::{net::IpAddr, sync::Arc};

use axum::extract::FromRequestParts;
use axum::http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};
use domain::{error::ApiError, id::TenantId, key::ApiKey};

use crate::{Failure, Producer};

/// The tenant on whose behalf a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) tenant: TenantId,
}

impl FromRequestParts<Arc<Producer>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, producer: &Arc<Producer>) -> Result<Self, Failure> {
        match (bearer(&parts.headers).map(ApiKey::parse), producer.settings.open_tenant) {
            (Some(Some(key)), _) => owner(producer, &key).await,
            // SDKs insist on sending some key; where none is needed, any text will do.
            (_, Some(tenant)) => refuse_pages(&parts.headers).map(|()| Self { tenant }).map_err(Into::into),
            (Some(None), None) => Err(ApiError::unauthorized("this is not an API key of this service").into()),
            (None, None) => Err(ApiError::unauthorized("send an API key as `Authorization: Bearer KEY`").into()),
        }
    }
}

/// Where no key is needed, a page on the web must not get in through its reader's browser: neither from its own origin, nor under
/// a name of its own that leads to this machine.
fn refuse_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let Some(host) = text(HOST) else { return Ok(()) };
    let own_origin = text(ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host));
    if own_origin && is_this_machine(host) {
        return Ok(());
    }
    let message = "without API keys only this machine may call; create one with `millrace key create`";
    Err(ApiError::new(403, "invalid_request_error", "foreign_origin", message))
}

/// Whether an authority, `host` or `host:port`, names the loopback.
fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The store is asked once in a few seconds for each key, right or wrong.
async fn owner(producer: &Producer, key: &ApiKey) -> Result<Caller, Failure> {
    let hash = key.hash();
    let tenant = match producer.keys.recall(&hash) {
        Some(known) => known,
        None => {
            let found = producer.backing.store.tenant_of_key(hash).await?;
            producer.keys.keep(hash, found);
            found
        }
    };
    tenant.map(|tenant| Caller { tenant }).ok_or_else(|| ApiError::unauthorized("this API key is unknown or revoked").into())
}
