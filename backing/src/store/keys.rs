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
        let id = KeyId::new();
        let sql = "insert into api_keys (id, tenant_id, hash, hint) values ($1, $2, $3, $4)";
        self.write(sql, args![id, tenant, hash.as_slice(), hint]).await?;
        Ok(id)
    }

    /// The tenant of a valid key.
    pub async fn tenant_of_key(&self, hash: [u8; 32]) -> Result<Option<TenantId>> {
        let sql = "select tenant_id from api_keys where hash = $1 and revoked_at is null";
        self.read_one(sql, args![hash.as_slice()]).await?.map(|row| row.id("tenant_id")).transpose()
    }

    /// All keys, the newest first, at most 1,000.
    pub async fn keys(&self) -> Result<Vec<KeyRow>> {
        let sql = "select k.id, t.name as tenant, k.hint, k.created_at, k.revoked_at
            from api_keys k join tenants t on t.id = k.tenant_id
            order by k.id desc limit 1000";
        self.read(sql, args![]).await?.iter().map(key).collect()
    }

    /// Revokes a key and tells all processes. False if there is no such key.
    pub async fn revoke_key(&self, id: KeyId) -> Result<bool> {
        let mut tx = self.begin().await?;
        let sql = "update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning id";
        let found = tx.row(sql, args![id]).await?.is_some();
        tx.tell(Change::Keys);
        tx.commit().await?;
        Ok(found)
    }

    /// Whether any key was ever made. Revoked ones count, so that revoking the last one opens no door.
    pub async fn has_keys(&self) -> Result<bool> {
        Ok(self.read_one("select 1 as found from api_keys limit 1", args![]).await?.is_some())
    }
}

fn key(row: &Row) -> Result<KeyRow> {
    Ok(KeyRow {
        id: row.id("id")?,
        tenant: row.get("tenant")?,
        hint: row.get("hint")?,
        created_at: row.time("created_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}
