//! Pruning: rows that have done their duty are deleted in bounded portions; the ledger of charges stays.

use super::*;

/// Ended requests that nobody needs any more. Their objects go first, then their rows: a crash in between repeats the removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prunable {
    /// Requests whose rows are to go, with bodies and results.
    pub requests: Vec<RequestId>,
    /// Keys of objects that only these rows name.
    pub keys: Vec<String>,
}

impl Store {
    /// Ended single requests older than `seconds`, at most `limit`.
    pub async fn prunable_singles(&self, seconds: f64, limit: u32) -> Result<Prunable> {
        let sql = "select id from requests where batch_id is null and ended_at <= later(-$1::float8) order by ended_at limit $2";
        self.prunable(&self.read(sql, args![seconds, limit]).await?).await
    }

    /// Lines of one terminal batch, at most `limit`: what is worth keeping stands in the result files.
    pub async fn prunable_lines(&self, limit: u32) -> Result<Prunable> {
        let sql = "select id from batches
            where pruned_at is null and state in ('failed', 'completed', 'expired', 'cancelled')
            order by id limit 1";
        while let Some(batch) = self.read_one(sql, args![]).await? {
            let batch: BatchId = batch.id("id")?;
            let lines = self.read("select id from requests where batch_id = $1 order by line limit $2", args![batch, limit]).await?;
            if !lines.is_empty() {
                return self.prunable(&lines).await;
            }
            self.write("update batches set pruned_at = now() where id = $1 and pruned_at is null returning id", args![batch]).await?;
        }
        Ok(Prunable::default())
    }

    /// Deletes requests; their bodies and results go with them. Returns how many there were.
    pub async fn prune(&self, requests: &[RequestId]) -> Result<u64> {
        let sql = "delete from requests where id in (select id from json_to_recordset($1::json) as given(id uuid)) returning id";
        let ids = value::ids(requests.iter().map(|id| id.uuid()))?;
        Ok(self.write(sql, args![ids]).await?.len() as u64)
    }

    async fn prunable(&self, requests: &[Row]) -> Result<Prunable> {
        let requests = requests.iter().map(|row| row.id("id")).collect::<Result<Vec<RequestId>>>()?;
        let sql = "select key from request_bodies
            where key is not null and request_id in (select id from json_to_recordset($1::json) as given(id uuid))
            union all
            select key from results
            where key is not null and request_id in (select id from json_to_recordset($1::json) as given(id uuid))";
        let keys = self.read(sql, args![value::ids(requests.iter().map(|id| id.uuid()))?]).await?;
        Ok(Prunable { requests, keys: keys.iter().map(|row| row.get("key")).collect::<Result<_>>()? })
    }
}
