//! Lines of batches as rows of `requests`: inserted by validation, read in order by assembly.

use super::*;
use domain::{batch::Batch, request::State};
use serde::Serialize;
use uuid::Uuid;

/// A validated line.
#[derive(Clone, Debug)]
pub struct NewLine {
    pub line: u64,
    pub custom_id: String,
    pub model: String,
    pub cost: u64,
    pub body_offset: u64,
    pub body_bytes: u32,
}

impl Store {
    /// Inserts a chunk of lines, which wait invisibly until [`Store::start_batch`]. Lines that are there already are left as they
    /// are, so that a validation may start over. False if the lease is lost.
    pub async fn insert_lines(&self, batch: &Batch, term: Term, lines: &[NewLine]) -> Result<bool> {
        #[derive(Serialize)]
        struct Given<'a> {
            id: Uuid,
            line: u64,
            custom_id: &'a str,
            model: &'a str,
            cost: u64,
            body_offset: u64,
            body_bytes: u32,
        }
        let rows = value::rows(lines.iter().map(|new| Given {
            id: RequestId::new().uuid(),
            line: new.line,
            custom_id: &new.custom_id,
            model: &new.model,
            cost: new.cost,
            body_offset: new.body_offset,
            body_bytes: new.body_bytes,
        }))?;
        let mut tx = self.begin().await?;
        let held = "select id from batches where id = $1 and lease_term = $2 and state = 'validating' for share";
        if tx.row(held, args![batch.id, term.0]).await?.is_none() {
            return tx.commit().await.map(|()| false);
        }
        let sql = "insert into requests
                (id, tenant_id, batch_id, line, custom_id, body_offset, body_bytes, endpoint, model, cost, state, deadline)
            select given.id, b.tenant_id, b.id, given.line, given.custom_id, given.body_offset, given.body_bytes,
                b.endpoint, given.model, given.cost, 'queued', b.expires_at
            from batches b cross join json_to_recordset($2::json) as given(id uuid, line bigint, custom_id text, model text, cost bigint,
                body_offset bigint, body_bytes integer)
            where b.id = $1
            on conflict (batch_id, line) do nothing";
        tx.rows(sql, args![batch.id, rows]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Up to `limit` ended lines of a batch after a line number, in line order, with their results.
    pub async fn ended_lines(&self, batch: BatchId, after: u64, limit: u32) -> Result<Vec<LineResult>> {
        let sql = "select r.line, r.id, r.custom_id, r.state, s.status, s.body, s.key
            from requests r left join results s on s.request_id = r.id
            where r.batch_id = $1 and r.line > $2 and r.state in ('succeeded', 'failed', 'cancelled', 'expired')
            order by r.line limit $3";
        let line = |row: &Row| {
            Ok(LineResult {
                line: row.count("line")?,
                id: row.id("id")?,
                custom_id: row.get("custom_id")?,
                state: row.named("state", State::from_name)?,
                result: results::result(row)?,
            })
        };
        self.read(sql, args![batch, after, limit]).await?.iter().map(line).collect()
    }
}
