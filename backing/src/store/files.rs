//! Rows of files; their bytes are in the object store.

use super::*;
use domain::{
    file::{File, Purpose},
    id::{FileId, TenantId},
};
use uuid::Uuid;

/// Direction of a listing by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

impl Store {
    /// Makes an uploaded file visible. Its bytes are stored already.
    pub async fn insert_file(&self, file: &File) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.insert_file(file).await?;
        tx.commit().await
    }

    /// A file that is neither deleted nor past its expiry.
    pub async fn file(&self, tenant: TenantId, id: FileId) -> Result<Option<File>> {
        let sql = "select * from files
            where tenant_id = $1 and id = $2 and deleted_at is null and (expires_at is null or expires_at > now())";
        self.read_one(sql, args![tenant, id]).await?.as_ref().map(file).transpose()
    }

    /// A page of files after a cursor (which may be deleted by now); `None` if the cursor is not a file of this tenant.
    pub async fn files(
        &self,
        tenant: TenantId,
        purpose: Option<Purpose>,
        after: Option<FileId>,
        limit: u32,
        order: Order,
    ) -> Result<Option<Page<File>>> {
        if let Some(after) = after {
            let sql = "select id from files where tenant_id = $1 and id = $2";
            if self.read_one(sql, args![tenant, after]).await?.is_none() {
                return Ok(None);
            }
        }
        let (sql, start) = match order {
            Order::NewestFirst => (
                "select * from files
                where tenant_id = $1 and id < $2 and ($3::text is null or purpose = $3)
                    and deleted_at is null and (expires_at is null or expires_at > now())
                order by id desc limit $4",
                Uuid::max(),
            ),
            Order::OldestFirst => (
                "select * from files
                where tenant_id = $1 and id > $2 and ($3::text is null or purpose = $3)
                    and deleted_at is null and (expires_at is null or expires_at > now())
                order by id limit $4",
                Uuid::nil(),
            ),
        };
        let after = after.map_or(start, FileId::uuid);
        let rows = self.read(sql, args![tenant, after, purpose.map(Purpose::name), u64::from(limit) + 1]).await?;
        Ok(Some(Page::of(rows.iter().map(file).collect::<Result<_>>()?, limit)))
    }

    /// Hides a file. False if there is none.
    pub async fn delete_file(&self, tenant: TenantId, id: FileId) -> Result<bool> {
        let sql = "update files set deleted_at = now()
            where tenant_id = $1 and id = $2 and deleted_at is null and (expires_at is null or expires_at > now())
            returning id";
        Ok(!self.write(sql, args![tenant, id]).await?.is_empty())
    }

    /// Deleted or expired files whose bytes no open batch reads; the caller removes the objects, then calls `forget_files`.
    pub async fn files_to_collect(&self, limit: u32) -> Result<Vec<File>> {
        let sql = "select * from files f
            where collected_at is null and (deleted_at is not null or expires_at is not null)
                and (deleted_at is not null or expires_at <= now())
                and not exists (select 1 from batches b
                    where b.input_file_id = f.id and b.state in ('validating', 'in_progress', 'finalizing', 'cancelling'))
            order by id limit $1";
        self.read(sql, args![limit]).await?.iter().map(file).collect()
    }

    /// Marks the bytes of files as gone.
    pub async fn forget_files(&self, ids: &[FileId]) -> Result<()> {
        let sql = "update files set collected_at = now()
            where id in (select id from json_to_recordset($1::json) as given(id uuid)) and collected_at is null";
        self.write(sql, args![value::ids(ids.iter().map(|id| id.uuid()))?]).await?;
        Ok(())
    }
}

impl transaction::Transaction {
    /// Makes a file visible together with whatever else this transaction does.
    pub(super) async fn insert_file(&mut self, file: &File) -> Result<()> {
        let sql = "insert into files (id, tenant_id, purpose, filename, bytes, key, created_at, expires_at)
            values ($1, $2, $3, $4, $5, $6, to_timestamp($7), to_timestamp($8))";
        let values =
            args![file.id, file.tenant, file.purpose.name(), &file.filename, file.bytes, &file.key, file.created_at, file.expires_at];
        self.rows(sql, values).await?;
        Ok(())
    }
}

/// Reads a row of the table.
pub(super) fn file(row: &Row) -> Result<File> {
    Ok(File {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        purpose: row.named("purpose", Purpose::from_name)?,
        filename: row.get("filename")?,
        bytes: row.count("bytes")?,
        key: row.get("key")?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
    })
}
