//! Tenants: who owns work and how large a share they have.

use super::*;
use domain::id::TenantId;

impl Store {
    /// The tenant of a name, made if it is new.
    pub async fn ensure_tenant(&self, name: &str) -> Result<TenantId> {
        todo!("{name}")
    }
}
