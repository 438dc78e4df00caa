//! Events and their deliveries. The rows are written in the transaction of the terminal state (`endings.rs`); here they are sent.

use super::*;
use chrono::{DateTime, Utc};
use domain::id::{DeliveryId, TenantId};
use uuid::Uuid;

/// A delivery that is due.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: DeliveryId,
    pub tenant: TenantId,
    pub url: String,
    pub secret: Option<String>,
    pub payload: String,
    /// Attempts so far.
    pub attempts: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    Delivered {
        status: u16,
    },
    /// Try again after so many seconds.
    Retry {
        status: Option<u16>,
        error: String,
        seconds: f64,
    },
    /// The schedule is used up, or the receiver answered 410.
    Exhausted {
        status: Option<u16>,
        error: String,
    },
}

impl Store {
    /// Takes due deliveries for `seconds`: if no attempt is recorded by then, they are due again (at least once, never lost).
    pub async fn take_deliveries(&self, limit: u32, seconds: f64) -> Result<Vec<Delivery>> {
        let mut tx = self.begin().await?;
        let sql = "with due as (
                select id from deliveries where state = 'pending' and next_at <= now()
                order by next_at limit $1 for update skip locked)
            update deliveries set next_at = later($2) where id in (select id from due) returning id";
        let taken = tx.rows(sql, args![limit, seconds]).await?;
        let ids = taken.iter().map(|row| row.get("id")).collect::<Result<Vec<Uuid>>>()?;
        let sql = "select d.id, e.tenant_id, d.url, d.secret, e.payload, d.attempts
            from deliveries d join events e on e.id = d.event_id
            where d.id in (select id from json_to_recordset($1::json) as given(id uuid))
            order by d.id";
        let rows = tx.rows(sql, args![value::ids(ids)?]).await?;
        tx.commit().await?;
        rows.iter().map(delivery).collect()
    }

    /// Records an attempt, guarded by the number of attempts before it. False if somebody else has recorded it meanwhile.
    pub async fn record_attempt(&self, delivery: &Delivery, attempt: &Attempt) -> Result<bool> {
        let (state, status, error, seconds) = match attempt {
            Attempt::Delivered { status } => ("delivered", Some(*status), None, 0.0),
            Attempt::Retry { status, error, seconds } => ("pending", *status, Some(error.as_str()), *seconds),
            Attempt::Exhausted { status, error } => ("exhausted", *status, Some(error.as_str()), 0.0),
        };
        let sql = "update deliveries set state = $3, attempts = attempts + 1, last_status = $4, last_error = $5, next_at = later($6),
                ended_at = case when $3 = 'pending' then null else now() end
            where id = $1 and attempts = $2 and state = 'pending'
            returning id";
        let values = args![delivery.id, delivery.attempts, state, status, error, seconds];
        Ok(!self.write(sql, values).await?.is_empty())
    }

    /// Seconds until the next delivery is due; none if nothing is pending.
    pub async fn next_delivery_in(&self) -> Result<Option<f64>> {
        let sql = "select next_at, now() as at from deliveries where state = 'pending' order by next_at limit 1";
        let Some(row) = self.read_one(sql, args![]).await? else { return Ok(None) };
        let wait = row.get::<DateTime<Utc>>("next_at")? - row.get::<DateTime<Utc>>("at")?;
        Ok(Some(wait.as_seconds_f64().max(0.0)))
    }
}

fn delivery(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        url: row.get("url")?,
        secret: row.optional("secret")?,
        payload: row.get("payload")?,
        attempts: row.small_count("attempts")?,
    })
}
