//! Telemetry: logs by `tracing` (pretty or JSON) and metrics in Prometheus' text format. Neither ever holds a body.

mod buckets;

use std::{sync::OnceLock, thread, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Starts logging to stderr; `json` for machines. Level from `RUST_LOG`-style `filter`. Only the first call of a process counts.
pub fn start_logs(json: bool, filter: &str) {
    // What lapin logs as an error is handled, and logged, by the queue's supervisor.
    let filter = if filter.contains("lapin") { filter.to_owned() } else { format!("{filter},lapin=off") };
    let filter = EnvFilter::builder().parse_lossy(filter);
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let _already_started = if json { logs.json().flatten_event(true).try_init() } else { logs.try_init() };
}

/// Renders all metrics of this process; the recorder is installed by the first call of [`install_metrics`].
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Installs the process-wide recorder, once; later calls return the same.
pub fn install_metrics() -> Metrics {
    // The `metrics` crate knows one recorder a process, so here, and only here, is a static.
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    INSTALLED.get_or_init(install).clone()
}

fn install() -> Metrics {
    let recorder = buckets::BY_SUFFIX
        .iter()
        .try_fold(PrometheusBuilder::new().set_buckets(buckets::CALL).unwrap_or_default(), |builder, (suffix, buckets)| {
            builder.set_buckets_for_metric(Matcher::Suffix((*suffix).to_owned()), buckets)
        })
        .unwrap_or_default()
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another recorder was installed before; `/metrics` stays empty");
    }
    let upkeep = handle.clone();
    // Values wait in memory until somebody scrapes them, and perhaps nobody does.
    let spawned = thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(move || {
        loop {
            thread::sleep(UPKEEP_EVERY);
            upkeep.run_upkeep();
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "metrics are drained by scrapes only");
    }
    Metrics(handle)
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

impl Metrics {
    /// The body of `/metrics`.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_changes_nothing_and_latencies_have_the_buckets_of_the_dashboards() {
        start_logs(true, "info");
        start_logs(false, "not a filter at all ///");
        let first = install_metrics();
        metrics::histogram!("millrace_time_to_first_token_seconds").record(0.0004);
        metrics::histogram!("millrace_http_request_seconds").record(0.02);
        let second = install_metrics();
        for text in [first.render(), second.render()] {
            assert!(text.contains(r#"millrace_time_to_first_token_seconds_bucket{le="0.001"} 1"#), "{text}");
            assert!(text.contains(r#"millrace_http_request_seconds_bucket{le="0.025"} 1"#), "{text}");
        }
    }
}
