//! Telemetry: logs by `tracing` (pretty or JSON) and metrics in Prometheus' text format. Neither ever holds a body.

/// Starts logging to stderr; `json` for machines. Level from `RUST_LOG`-style `filter`.
pub fn start_logs(json: bool, filter: &str) {
    todo!("{json} {filter}")
}

/// Renders all metrics of this process; the recorder is installed by the first call of [`install_metrics`].
#[derive(Clone)]
pub struct Metrics;

/// Installs the process-wide recorder, once.
pub fn install_metrics() -> Metrics {
    todo!()
}

impl Metrics {
    /// The body of `/metrics`.
    pub fn render(&self) -> String {
        todo!()
    }
}
