//! The three backing services behind three small ports: the store (Postgres or SQLite), the queue (RabbitMQ or in-process)
//! and the objects (S3 or a folder); beside them telemetry and shutdown, which every process needs.

pub mod config;
pub mod error;

pub mod objects;
pub mod queue;
pub mod store;

pub mod shutdown;
pub mod telemetry;

pub use config::Config;
pub use error::{Error, Result};

/// The opened services of one process; clones share them.
#[derive(Clone)]
pub struct Backing {
    pub store: store::Store,
    pub queue: queue::Queue,
    pub objects: objects::Objects,
}

impl Backing {
    /// Opens all three. Succeeds while RabbitMQ is down: accepting never depends on the queue.
    pub async fn open(config: &Config) -> Result<Self> {
        let store = store::Store::open_as(&config.database_url, config.durable).await?;
        let queue = queue::Queue::open(&config.amqp_url, &config.queue_prefix)?;
        let objects = objects::Objects::open(&config.objects_url).await?;
        Ok(Self { store, queue, objects })
    }
}
