//! Pruning: rows that have done their duty are deleted in bounded portions; the ledger of charges stays.

use super::*;
use uuid::Uuid;

/// A portion that was pruned. A crash before the objects are removed leaves them behind unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of requests that went, with bodies and results.
    pub rows: u64,
    /// Keys of objects that nothing names any more; the caller removes them.
    pub keys: Vec<String>,
}

impl Store {
    /// Deletes ended single requests older than `seconds`, at most `limit`.
    pub async fn prune_singles(&self, seconds: f64, limit: u32) -> Result<Pruned> {
        let mut tx = self.begin().await?;
        let sql = "select id from requests where batch_id is null and ended_at <= later(-$1::float8) order by ended_at limit $2";
        let old = tx.rows(sql, args![seconds, limit]).await?;
        let pruned = tx.prune(&old).await?;
        tx.commit().await?;
        Ok(pruned)
    }

    /// Deletes lines of terminal batches, at most `limit`: what is worth keeping stands in the result files.
    pub async fn prune_lines(&self, limit: u32) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        while pruned.rows < u64::from(limit) {
            let sql = "select id from batches
                where pruned_at is null and state in ('failed', 'completed', 'expired', 'cancelled')
                order by id limit 1";
            let Some(batch) = self.read_one(sql, args![]).await? else { break };
            let portion = self.prune_batch(batch.id("id")?, u64::from(limit) - pruned.rows).await?;
            pruned.rows += portion.rows;
            pruned.keys.extend(portion.keys);
        }
        Ok(pruned)
    }

    async fn prune_batch(&self, id: BatchId, limit: u64) -> Result<Pruned> {
        let mut tx = self.begin().await?;
        let lines = tx.rows("select id from requests where batch_id = $1 order by line limit $2", args![id, limit]).await?;
        let pruned = tx.prune(&lines).await?;
        if (lines.len() as u64) < limit {
            tx.rows("update batches set pruned_at = now() where id = $1 and pruned_at is null", args![id]).await?;
        }
        tx.commit().await?;
        Ok(pruned)
    }
}

impl transaction::Transaction {
    /// Deletes requests; their bodies and results go with them.
    async fn prune(&mut self, requests: &[Row]) -> Result<Pruned> {
        let ids = requests.iter().map(|row| row.get("id")).collect::<Result<Vec<Uuid>>>()?;
        let sql = "select key from request_bodies
            where key is not null and request_id in (select id from json_to_recordset($1::json) as given(id uuid))
            union all
            select key from results
            where key is not null and request_id in (select id from json_to_recordset($1::json) as given(id uuid))";
        let keys = self.rows(sql, args![value::ids(ids.iter().copied())?]).await?;
        let sql = "delete from requests where id in (select id from json_to_recordset($1::json) as given(id uuid)) returning id";
        let rows = self.rows(sql, args![value::ids(ids)?]).await?.len() as u64;
        Ok(Pruned { rows, keys: keys.iter().map(|row| row.get("key")).collect::<Result<_>>()? })
    }
}
