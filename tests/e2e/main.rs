//! End-to-end tests: what users, operators and faults do to the whole service. `make test` starts the servers they need.

mod batches;
mod chats;
mod tenants;
mod webhooks;

mod clients;
mod commands;
mod offline;
mod operations;

mod faults;
mod without_workers;

/// Runs a test on both sides of the ports: embedded in one process, and as processes on Postgres, RabbitMQ and S3.
macro_rules! on_both_backings {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use tests::pipeline::Backing;

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                super::$test(Backing::Embedded).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_servers() {
                super::$test(Backing::Servers).await;
            }
        }
    )+};
}
pub(crate) use on_both_backings;
