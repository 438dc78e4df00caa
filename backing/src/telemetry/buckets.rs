//! Buckets of histograms: those of vLLM where a metric has its suffix, so that existing dashboards port by find and replace.

/// Suffixes and their buckets. None may be the end of another: the exporter sorts them, and takes the first that fits.
pub(super) const BY_SUFFIX: &[(&str, &[f64])] = &[
    ("time_to_first_token_seconds", TO_FIRST_TOKEN),
    ("time_per_output_token_seconds", PER_TOKEN),
    ("e2e_request_latency_seconds", WHOLE_REQUEST),
    ("request_queue_time_seconds", WHOLE_REQUEST),
    ("request_inference_time_seconds", WHOLE_REQUEST),
    ("request_prefill_time_seconds", WHOLE_REQUEST),
    ("request_decode_time_seconds", WHOLE_REQUEST),
    ("_tokens_total", COUNT),
    ("_tokens", COUNT),
    ("_size", COUNT),
];

const TO_FIRST_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0];

const PER_TOKEN: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];

const WHOLE_REQUEST: &[f64] =
    &[0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0];

/// All others: a call to a neighbour, such as HTTP, SQL, a confirm, an object.
pub(super) const CALL: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const COUNT: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 65536.0];
