//! Doorbells that have arrived and wait for room in the worker. The prefetch limit of the consumers bounds them.

use std::{collections::VecDeque, sync::Mutex};

use domain::request::Lane;
use tokio::sync::Notify;

use super::super::super::{Doorbell, lock};

/// The two lanes of a model, in the order of [`Lane::ALL`]; for one reader.
#[derive(Default)]
pub(in super::super) struct Inbox {
    lanes: Mutex<[VecDeque<Doorbell>; 2]>,
    rung: Notify,
}

impl Inbox {
    pub(super) fn put(&self, lane: Lane, doorbell: Doorbell) {
        lock(&self.lanes)[lane as usize].push_back(doorbell);
        self.rung.notify_one();
    }

    /// Forgets what came over a connection that has ended: the broker delivers it again.
    pub(super) fn clear(&self, lane: Lane) {
        lock(&self.lanes)[lane as usize].clear();
    }

    /// Up to `room` doorbells, interactive ones first. They leave the inbox in the same poll that returns them.
    pub(super) async fn take(&self, room: usize) -> Vec<Doorbell> {
        loop {
            let taken = self.take_waiting(room);
            if !taken.is_empty() {
                return taken;
            }
            self.rung.notified().await;
        }
    }

    fn take_waiting(&self, room: usize) -> Vec<Doorbell> {
        let mut taken = Vec::new();
        for lane in lock(&self.lanes).iter_mut() {
            let count = lane.len().min(room - taken.len());
            taken.extend(lane.drain(..count));
        }
        taken
    }
}
