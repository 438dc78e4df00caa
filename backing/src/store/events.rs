//! Events and their deliveries. The rows are written in the transaction of the terminal state (`batches.rs`); here they are sent.

use super::*;
use domain::id::{DeliveryId, TenantId};

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
        todo!("{limit} {seconds}")
    }

    /// Records an attempt, guarded by the number of attempts before it. False if somebody else has recorded it meanwhile.
    pub async fn record_attempt(&self, delivery: &Delivery, attempt: &Attempt) -> Result<bool> {
        todo!("{delivery:?} {attempt:?}")
    }

    /// Seconds until the next delivery is due; none if nothing is pending.
    pub async fn next_delivery_in(&self) -> Result<Option<f64>> {
        todo!()
    }
}
