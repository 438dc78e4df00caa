//! Where the backing services are. Only `cli` reads flags and environment; it hands the URLs over in this struct.

use std::path::Path;

/// URLs of the three services.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://…` or `sqlite:PATH`.
    pub database_url: String,
    /// `amqp://…`, `amqps://…` or `local:` (in-process).
    pub amqp_url: String,
    /// `s3://bucket/prefix?endpoint=…` or `file:///PATH`.
    pub objects_url: String,
    /// Whether a commit of SQLite is on the disk before anybody hears of it, which is what a 2xx promises. Without that, a power failure
    /// (not a kill) takes back the last ones, which is right for work that is simply done again.
    pub durable: bool,
    /// What the names of all queues start with, so that several installations can share a broker.
    pub queue_prefix: String,
}

impl Config {
    /// Everything in one folder and one process.
    pub fn embedded(state: &Path) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        // A path may hold characters that mean something else in a URL.
        let objects_url = url::Url::from_directory_path(state.join("objects")).map_or_else(|()| "file:///".to_owned(), String::from);
        Self {
            database_url: format!("sqlite:{}", state.join("millrace.db").display()),
            amqp_url: "local:".to_owned(),
            objects_url,
            durable: true,
            queue_prefix: "millrace".to_owned(),
        }
    }
}
