//! Tenants: who owns work and how large a share they have.

use super::*;
use domain::id::TenantId;

impl Store {
    /// The tenant of a name, made if it is new.
    pub async fn ensure_tenant(&self, name: &str) -> Result<TenantId> {
        self.write("insert into tenants (id, name) values ($1, $2) on conflict (name) do nothing", args![TenantId::new(), name]).await?;
        let row = self.read_one("select id from tenants where name = $1", args![name]).await?;
        row.ok_or_else(|| Error::Corrupt(format!("tenant `{name}` vanished")))?.id("id")
    }
}
