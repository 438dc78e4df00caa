//! Files: what clients upload and what batches leave behind. The bytes are in the object store, under `key`.

use serde_json::{Value, json};

use crate::id::{FileId, TenantId};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Batch,
    BatchOutput,
}

impl Purpose {
    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::BatchOutput => "batch_output",
        }
    }

    /// The purpose of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Batch, Self::BatchOutput].into_iter().find(|purpose| purpose.name() == name)
    }
}

/// One file of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub id: FileId,
    pub tenant: TenantId,
    pub purpose: Purpose,
    pub filename: String,
    pub bytes: u64,
    /// Where the object store has the bytes; never chosen by a client.
    pub key: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; after that the file is not found any more.
    pub expires_at: Option<i64>,
}

impl File {
    /// The object-store key of a file.
    pub fn key_of(tenant: TenantId, id: FileId) -> String {
        format!("{tenant}/files/{id}")
    }

    /// The `file` object of the API.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.bytes, "created_at": self.created_at, "expires_at": self.expires_at,
            "filename": self.filename, "purpose": self.purpose.name(), "status": "processed", "status_details": null,
        })
    }
}
