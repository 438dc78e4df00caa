//! Who calls: an API key, known by its hash. A handler that takes a [`Caller`] cannot run without one, and its body is still unread.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header::AUTHORIZATION, request::Parts};
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
            (_, Some(tenant)) => Ok(Self { tenant }),
            (Some(None), None) => Err(ApiError::unauthorized("this is not an API key of this service").into()),
            (None, None) => Err(ApiError::unauthorized("send an API key as `Authorization: Bearer KEY`").into()),
        }
    }
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
