//! Heartbeats of consumers. A worker whose lease has ended is dead: its claims go back, and it must not claim again under that id.

use super::*;
use domain::id::WorkerId;

/// A consumer process.
#[derive(Clone, Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub model: Option<String>,
    /// Requests that run at once.
    pub slots: u32,
}

impl Store {
    /// Adds a live worker and wakes the dispatcher.
    pub async fn register_worker(&self, worker: &Worker, seconds: f64) -> Result<()> {
        let mut tx = self.begin().await?;
        let sql = "insert into workers (id, model, slots, lease_until) values ($1, $2, $3, later($4))";
        tx.rows(sql, args![worker.id, worker.model.as_deref(), worker.slots, seconds]).await?;
        tx.tell(Change::Queued);
        tx.commit().await
    }

    /// Extends a worker's lease. False if it has ended already: fence yourself off and register anew.
    pub async fn beat(&self, id: WorkerId, seconds: f64) -> Result<bool> {
        let sql = "update workers set lease_until = later($2) where id = $1 and lease_until > now() returning id";
        Ok(!self.write(sql, args![id, seconds]).await?.is_empty())
    }

    /// Removes a worker that leaves in order; its claims must be released before.
    pub async fn retire_worker(&self, id: WorkerId) -> Result<()> {
        // A claim that was not released after all is found by the sweep, which is why the row only ends here.
        self.write("update workers set lease_until = now() where id = $1 and lease_until > now()", args![id]).await?;
        Ok(())
    }

    /// Removes dead workers and returns their claims to `queued` (the attempt stays counted); gives the number of claims.
    pub async fn sweep_workers(&self) -> Result<u64> {
        transaction::repeat(|| self.sweep_once()).await
    }

    async fn sweep_once(&self) -> Result<u64> {
        let mut tx = self.begin().await?;
        // Waits for claims under way, which hold their worker's row.
        let dead = tx.rows("delete from workers where lease_until <= now() returning id", args![]).await?;
        if dead.is_empty() {
            return tx.commit().await.map(|()| 0);
        }
        let dead: Vec<uuid::Uuid> = dead.iter().map(|row| row.get("id")).collect::<Result<_>>()?;
        let sql = "with lost as (
                select id from requests
                where state = 'running' and worker_id in (select id from json_to_recordset($1::json) as given(id uuid))
                order by id for update)
            update requests set state = 'queued', worker_id = null, dispatched_at = null
            where id in (select id from lost) and state = 'running'
            returning id";
        let returned = tx.rows(sql, args![value::ids(dead)?]).await?.len();
        if returned > 0 {
            tx.tell(Change::Queued);
        }
        tx.commit().await?;
        Ok(returned as u64)
    }

    /// Live workers that serve a model.
    pub async fn live_workers(&self) -> Result<Vec<Worker>> {
        let sql = "select id, model, slots from workers where model is not null and lease_until > now() order by id";
        let worker = |row: &Row| Ok(Worker { id: row.id("id")?, model: row.optional("model")?, slots: row.small_count("slots")? });
        self.read(sql, args![]).await?.iter().map(worker).collect()
    }
}
