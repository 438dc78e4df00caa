//! Signs of lost lanes, on their way to whoever can give the work back. Not the loss itself: a sign may be false, and then costs a doorbell.

use std::sync::Mutex;

use tokio::sync::broadcast;

use super::{LaneLost, lock};

/// Signs that a slow receiver may lag behind.
const SIGNS_WAITING_MAX: usize = 256;

/// Announces lost lanes to all receivers of this process, also to those that come later.
pub(super) struct Signs {
    sender: broadcast::Sender<LaneLost>,
    /// Each lane once, so no more than there are lanes.
    seen: Mutex<Vec<LaneLost>>,
}

impl Default for Signs {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(SIGNS_WAITING_MAX), seen: Mutex::default() }
    }
}

impl Signs {
    /// Tells everybody.
    pub(super) fn announce(&self, lost: LaneLost) {
        metrics::counter!("millrace_queue_lanes_lost_total", "lane" => lost.lane.name()).increment(1);
        tracing::info!(model = lost.model, lane = lost.lane.name(), "doorbells of this lane may be lost");
        let mut seen = lock(&self.seen);
        if !seen.contains(&lost) {
            seen.push(lost.clone());
        }
        // It fails only if nobody listens.
        let _ = self.sender.send(lost);
    }

    /// A receiver that first gets the signs of the past. Others get them a second time, which does no harm.
    pub(super) fn receiver(&self) -> broadcast::Receiver<LaneLost> {
        let receiver = self.sender.subscribe();
        for lost in lock(&self.seen).iter() {
            let _ = self.sender.send(lost.clone());
        }
        receiver
    }
}
