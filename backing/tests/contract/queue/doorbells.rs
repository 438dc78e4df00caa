//! What holds for every queue.

use std::time::Duration;

use domain::request::Lane::{Batch, Interactive};
use tokio::time::timeout;

use super::fresh::{PATIENCE, envelopes, hear, hear_of_loss, is_silent, on_both, ring, rung};

on_both! {
    async fn interactive_doorbells_are_heard_before_batch_ones_and_each_lane_keeps_its_order(queue: Queue) {
        let (urgent, bulk) = (envelopes(3), envelopes(5));
        ring(&queue, "nano", Batch, &bulk).await;
        ring(&queue, "nano", Interactive, &urgent).await;
        let mut doorbells = queue.subscribe("nano", 8);
        // Both lanes arrive in their own time over a network, so order is only promised among what has arrived.
        let mut heard = hear(&mut doorbells, 8).await;
        heard.sort_by_key(|doorbell| bulk.contains(&doorbell.envelope));
        assert_eq!(rung(&heard), [urgent, bulk].concat());
        doorbells.ack(heard).await;
        assert!(is_silent(&mut doorbells).await);
    }

    async fn no_more_than_the_look_ahead_is_held_unanswered(queue: Queue) {
        ring(&queue, "nano", Batch, &envelopes(20)).await;
        let mut doorbells = queue.subscribe("nano", 4);
        let first = hear(&mut doorbells, 4).await;
        assert!(is_silent(&mut doorbells).await);
        doorbells.ack(first).await;
        assert_eq!(hear(&mut doorbells, 4).await.len(), 4);
        assert!(is_silent(&mut doorbells).await);
    }

    async fn room_bounds_what_is_heard(queue: Queue) {
        ring(&queue, "nano", Batch, &envelopes(5)).await;
        let mut doorbells = queue.subscribe("nano", 16);
        for _ in 0..5 {
            let heard = timeout(PATIENCE, doorbells.next(1)).await.unwrap();
            assert_eq!(heard.len(), 1);
        }
        assert!(is_silent(&mut doorbells).await);
    }

    async fn a_wait_that_is_given_up_loses_nothing(queue: Queue) {
        let all = envelopes(50);
        let mut doorbells = queue.subscribe("nano", 64);
        let ringing = tokio::spawn({
            let (queue, all) = (queue.clone(), all.clone());
            async move {
                for envelope in all.chunks(1) {
                    ring(&queue, "nano", Batch, envelope).await;
                }
            }
        });
        let mut heard = Vec::new();
        let hearing = async {
            while heard.len() < all.len() {
                heard.extend(timeout(Duration::from_micros(200), doorbells.next(8)).await.unwrap_or_default());
            }
        };
        timeout(PATIENCE, hearing).await.unwrap();
        ringing.await.unwrap();
        assert_eq!(rung(&heard), all);
    }

    async fn what_a_worker_gives_back_or_leaves_unanswered_rings_at_another(queue: Queue) {
        let all = envelopes(6);
        ring(&queue, "nano", Batch, &all).await;
        let mut first = queue.subscribe("nano", 6);
        let mut heard = hear(&mut first, 6).await;
        let (given_back, mut answered) = (heard.split_off(4), heard.split_off(2));
        // Answered out of order: the two before them stay open.
        answered.reverse();
        first.ack(answered).await;
        let mut second = queue.subscribe("nano", 6);
        first.give_back(given_back).await;
        drop(first);
        let mut again = hear(&mut second, 4).await;
        again.sort_by_key(|doorbell| doorbell.envelope.request());
        assert_eq!(rung(&again), [&all[..2], &all[4..]].concat());
        second.ack(again).await;
        assert!(is_silent(&mut second).await);
    }

    async fn models_do_not_hear_each_other(queue: Queue) {
        let names = ["deepseek-ai/DeepSeek-V3", "deepseek-ai%2FDeepSeek-V3", "模型 🦀", "a.b.c"];
        for model in names {
            ring(&queue, model, Interactive, &envelopes(1)).await;
        }
        for model in names {
            let mut doorbells = queue.subscribe(model, 4);
            hear(&mut doorbells, 1).await;
            assert!(is_silent(&mut doorbells).await, "{model}");
        }
    }

    async fn a_new_lane_counts_as_lost_also_for_those_who_ask_later(queue: Queue) {
        let mut lost = queue.lost_lanes();
        ring(&queue, "nano", Interactive, &envelopes(1)).await;
        hear_of_loss(&mut lost, "nano", Interactive).await;
        hear_of_loss(&mut queue.lost_lanes(), "nano", Interactive).await;
    }

    async fn nothing_to_publish_is_done_at_once(queue: Queue) {
        assert!(queue.publish("nano", Batch, &[]).await.is_empty());
    }

    async fn a_queue_in_use_is_ready(queue: Queue) {
        ring(&queue, "nano", Interactive, &envelopes(1)).await;
        assert!(queue.is_ready());
    }
}
