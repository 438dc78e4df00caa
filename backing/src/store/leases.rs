//! Leases with terms: who leads a duty, until when, by the database's clock.

use super::*;
use uuid::Uuid;

/// The duty of choosing what enters the queue; `mark_dispatched` is fenced by its term.
pub const DISPATCHER: &str = "dispatch";

/// Proof of leadership; every write of the leader names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub i64);

impl Store {
    /// Takes or extends the lease of a duty. `None` while somebody else holds it.
    pub async fn lead(&self, duty: &str, holder: Uuid, seconds: f64) -> Result<Option<Term>> {
        // A term that has ended is over even if its holder comes back: it may have missed what happened since.
        let sql = "insert into leases (name, holder, term, expires_at) values ($1, $2, 1, later($3))
            on conflict (name) do update set
                term = case when leases.expires_at > now() then leases.term else leases.term + 1 end,
                holder = excluded.holder,
                expires_at = excluded.expires_at
            where leases.holder = excluded.holder or leases.expires_at <= now()
            returning term";
        let rows = self.write(sql, args![duty, holder, seconds]).await?;
        rows.first().map(|row| row.get("term").map(Term)).transpose()
    }

    /// Gives a lease back early, so that another process can lead at once.
    pub async fn resign(&self, duty: &str, holder: Uuid) -> Result<()> {
        self.write("update leases set expires_at = now() where name = $1 and holder = $2", args![duty, holder]).await?;
        Ok(())
    }
}

impl transaction::Transaction {
    /// Whether a duty is still led under this term; nobody else can take it before this transaction ends.
    pub(super) async fn leads(&mut self, duty: &str, term: Term) -> Result<bool> {
        let sql = "select term from leases where name = $1 and term = $2 and expires_at > now() for share";
        Ok(self.row(sql, args![duty, term.0]).await?.is_some())
    }
}
