//! Leases with terms: who leads a duty, until when, by the database's clock.

use super::*;
use uuid::Uuid;

/// Proof of leadership; every write of the leader names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub i64);

impl Store {
    /// Takes or extends the lease of a duty. `None` while somebody else holds it.
    pub async fn lead(&self, duty: &str, holder: Uuid, seconds: f64) -> Result<Option<Term>> {
        todo!("{duty} {holder} {seconds}")
    }

    /// Gives a lease back early, so that another process can lead at once.
    pub async fn resign(&self, duty: &str, holder: Uuid) -> Result<()> {
        todo!("{duty} {holder}")
    }
}
