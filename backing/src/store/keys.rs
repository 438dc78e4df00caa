//! API keys, known by their hash.

use super::*;
use domain::id::{KeyId, TenantId};

/// A key as lists show it.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub id: KeyId,
    pub tenant: String,
    pub hint: String,
    pub created_at: i64,
    pub revoked_at: Option<i64>,
}

impl Store {
    /// Stores a new key.
    pub async fn insert_key(&self, tenant: TenantId, hash: [u8; 32], hint: &str) -> Result<KeyId> {
        todo!("{tenant} {hash:?} {hint}")
    }

    /// The tenant of a valid key.
    pub async fn tenant_of_key(&self, hash: [u8; 32]) -> Result<Option<TenantId>> {
        todo!("{hash:?}")
    }

    /// All keys, the newest first, at most 1,000.
    pub async fn keys(&self) -> Result<Vec<KeyRow>> {
        todo!()
    }

    /// Revokes a key and tells all processes. False if there is no such key.
    pub async fn revoke_key(&self, id: KeyId) -> Result<bool> {
        todo!("{id}")
    }

    /// Whether any key exists.
    pub async fn has_keys(&self) -> Result<bool> {
        todo!()
    }
}
