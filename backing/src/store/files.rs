//! Rows of files; their bytes are in the object store.

use super::*;
use domain::{
    file::{File, Purpose},
    id::{FileId, TenantId},
};

/// Direction of a listing by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

impl Store {
    /// Makes an uploaded file visible. Its bytes are stored already.
    pub async fn insert_file(&self, file: &File) -> Result<()> {
        todo!("{file:?}")
    }

    /// A file that is neither deleted nor past its expiry.
    pub async fn file(&self, tenant: TenantId, id: FileId) -> Result<Option<File>> {
        todo!("{tenant} {id}")
    }

    /// A page of files after a cursor (which may be deleted by now).
    pub async fn files(
        &self,
        tenant: TenantId,
        purpose: Option<Purpose>,
        after: Option<FileId>,
        limit: u32,
        order: Order,
    ) -> Result<Page<File>> {
        todo!("{tenant} {purpose:?} {after:?} {limit} {order:?}")
    }

    /// Hides a file. False if there is none.
    pub async fn delete_file(&self, tenant: TenantId, id: FileId) -> Result<bool> {
        todo!("{tenant} {id}")
    }

    /// Deleted or expired files whose bytes no open batch reads; the caller removes the objects, then calls `forget_files`.
    pub async fn files_to_collect(&self, limit: u32) -> Result<Vec<File>> {
        todo!("{limit}")
    }

    /// Marks the bytes of files as gone.
    pub async fn forget_files(&self, ids: &[FileId]) -> Result<()> {
        todo!("{ids:?}")
    }
}
