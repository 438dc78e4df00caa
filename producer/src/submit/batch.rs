//! Creating a batch. Only the call itself is judged here; the lines of the file are, later, by `ingest`.

use backing::{Backing, store::NewBatch};
use domain::{
    batch::{Batch, Webhook},
    error::ApiError,
    fields::Fields,
    file::Purpose,
    id::{BatchId, FileId, TenantId},
    limits::Limits,
    request::Endpoint,
    window,
};
use serde_json::Value;
use url::Url;

use super::lifetime;
use crate::Failure;

/// A create call whose shape is right.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    pub endpoint: Endpoint,
    pub input_file: FileId,
    /// As sent, such as `24h`.
    pub completion_window: String,
    pub window_seconds: u64,
    pub metadata: Option<Value>,
    pub output_seconds: Option<u64>,
    pub webhook: Option<Webhook>,
    /// Unknown keys of the body, for `x-millrace-ignored-params`.
    pub ignored: Vec<String>,
}

const METADATA_PAIRS_MAX: usize = 16;
const METADATA_KEY_CHARS_MAX: usize = 64;
const METADATA_VALUE_CHARS_MAX: usize = 512;
const WEBHOOK_URL_BYTES_MAX: usize = 2048;
const WEBHOOK_SECRET_BYTES_MAX: usize = 256;

impl BatchOrder {
    /// Parses the JSON text of a create call.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        for name in ["requests", "priority"] {
            if fields.take(name).is_some() {
                return Err(ApiError::unsupported(name, format!("`{name}` is not supported")));
            }
        }
        if !matches!(fields.string("output_order")?.as_deref(), None | Some("any" | "input")) {
            return Err(fields.wrong("output_order", "must be `input` or `any`"));
        }
        let input_file = fields.required_string("input_file_id")?.parse().map_err(|_| no_such_file())?;
        let endpoint = fields.required_string("endpoint")?;
        let completion_window = fields.required_string("completion_window")?;
        Ok(Self {
            input_file,
            endpoint: Endpoint::from_path(&endpoint).ok_or_else(|| fields.wrong("endpoint", &endpoints_rule()))?,
            window_seconds: window::parse(&completion_window, limits.window_seconds_min)?,
            completion_window,
            metadata: metadata(&mut fields)?,
            output_seconds: output_seconds(&mut fields)?,
            webhook: webhook(&mut fields)?,
            ignored: fields.left_over().cloned().collect(),
        })
    }
}

/// Creates a batch in `validating`. The input file must be there now: an unknown one is the call's fault, not the batch's.
pub async fn create_batch(backing: &Backing, tenant: TenantId, order: BatchOrder) -> Result<Batch, Failure> {
    let file = backing.store.file(tenant, order.input_file).await?.ok_or_else(no_such_file)?;
    if file.purpose != Purpose::Batch {
        return Err(ApiError::invalid_value("input_file_id", "the file must have been uploaded with purpose `batch`").into());
    }
    let new = NewBatch {
        id: BatchId::new(),
        tenant,
        endpoint: order.endpoint,
        input_file: order.input_file,
        completion_window: order.completion_window,
        window_seconds: order.window_seconds,
        metadata: order.metadata,
        output_seconds: order.output_seconds,
        webhook: order.webhook,
    };
    let batch = backing.store.insert_batch(&new).await?;
    metrics::counter!("millrace_batches_accepted_total", "endpoint" => batch.endpoint.path()).increment(1);
    tracing::info!(batch = %batch.id, tenant = %tenant, "batch accepted");
    Ok(batch)
}

fn no_such_file() -> ApiError {
    ApiError::not_found("file_not_found", "there is no such file").param("input_file_id")
}

fn endpoints_rule() -> String {
    format!("must be one of {}", Endpoint::ALL.map(Endpoint::path).join(", "))
}

fn metadata(fields: &mut Fields) -> Result<Option<Value>, ApiError> {
    let rule = format!(
        "must be an object of at most {METADATA_PAIRS_MAX} strings; keys have at most {METADATA_KEY_CHARS_MAX} characters, \
         values at most {METADATA_VALUE_CHARS_MAX}"
    );
    match fields.take("metadata") {
        None => Ok(None),
        Some(Value::Object(pairs)) if pairs.len() <= METADATA_PAIRS_MAX && pairs.iter().all(pair_fits) => Ok(Some(pairs.into())),
        Some(_) => Err(fields.wrong("metadata", &rule)),
    }
}

fn pair_fits((key, value): (&String, &Value)) -> bool {
    // Postgres keeps no NUL in a text.
    let fits = |text: &str, max| text.chars().count() <= max && !text.contains('\0');
    fits(key, METADATA_KEY_CHARS_MAX) && value.as_str().is_some_and(|text| fits(text, METADATA_VALUE_CHARS_MAX))
}

fn output_seconds(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let Some(value) = fields.take("output_expires_after") else { return Ok(None) };
    let mut expiry = Fields::of(value, "output_expires_after")?;
    let anchor = expiry.string("anchor")?;
    let seconds = expiry.integer("seconds", 0, i64::MAX)?;
    lifetime("output_expires_after", anchor.as_deref(), seconds).map(|seconds| Some(seconds.unsigned_abs()))
}

/// Only the syntax is judged. Which addresses may be dialled is the sender's question, at the moment of dialling.
fn webhook(fields: &mut Fields) -> Result<Option<Webhook>, ApiError> {
    let Some(value) = fields.take("webhook") else { return Ok(None) };
    let mut webhook = Fields::of(value, "webhook")?;
    let url = webhook.required_string("url")?;
    let secret = webhook.string("secret")?;
    if let Some(name) = webhook.left_over().next() {
        return Err(ApiError::unsupported(webhook.param(name), format!("`webhook.{name}` is not supported")));
    }
    if !url_fits(&url) {
        return Err(webhook.wrong("url", "must be an http or https URL with a host and without user name or password"));
    }
    if secret.as_ref().is_some_and(|secret| secret.is_empty() || secret.len() > WEBHOOK_SECRET_BYTES_MAX || secret.contains('\0')) {
        return Err(webhook.wrong("secret", &format!("must have from 1 to {WEBHOOK_SECRET_BYTES_MAX} bytes")));
    }
    Ok(Some(Webhook { url, secret }))
}

fn url_fits(text: &str) -> bool {
    text.len() <= WEBHOOK_URL_BYTES_MAX
        && !text.contains(char::is_control)
        && Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(extra: &str) -> Result<BatchOrder, ApiError> {
        let file = FileId::new();
        let comma = if extra.is_empty() { "" } else { "," };
        let body = format!(r#"{{"input_file_id":"{file}","endpoint":"/v1/completions","completion_window":"24h"{comma}{extra}}}"#);
        BatchOrder::parse(body.as_bytes(), &Limits::default())
    }

    #[test]
    fn a_full_order_is_read() {
        let order = order(
            r#""metadata":{"a":"b"},"output_expires_after":{"anchor":"created_at","seconds":3600},
               "webhook":{"url":"https://example.com/hook","secret":"whsec_x"},"output_order":"input","frobnicate":1"#,
        )
        .unwrap();
        assert_eq!((order.endpoint, order.window_seconds, order.output_seconds), (Endpoint::Completions, 86_400, Some(3600)));
        assert_eq!(order.webhook.unwrap().url, "https://example.com/hook");
        assert_eq!(order.ignored, ["frobnicate"]);
    }

    #[test]
    fn each_fault_names_its_field() {
        let long = "x".repeat(513);
        let pairs: Vec<String> = (0..17).map(|number| format!(r#""{number}":"""#)).collect();
        for (extra, param) in [
            (format!(r#""metadata":{{"a":"{long}"}}"#), "metadata"),
            (format!(r#""metadata":{{"{}":"a"}}"#, &long[..65]), "metadata"),
            (format!(r#""metadata":{{{}}}"#, pairs.join(",")), "metadata"),
            (r#""metadata":{"a":1}"#.into(), "metadata"),
            (r#""metadata":{"a":"\u0000"}"#.into(), "metadata"),
            (r#""output_expires_after":{"anchor":"created_at","seconds":3599}"#.into(), "output_expires_after.seconds"),
            (r#""output_expires_after":{"seconds":3600}"#.into(), "output_expires_after.anchor"),
            (r#""webhook":{}"#.into(), "webhook.url"),
            (r#""webhook":{"url":"ftp://example.com"}"#.into(), "webhook.url"),
            (r#""webhook":{"url":"https://u:p@example.com"}"#.into(), "webhook.url"),
            (r#""webhook":{"url":"https://example.com","events":[]}"#.into(), "webhook.events"),
            (r#""webhook":{"url":"https://example.com","secret":""}"#.into(), "webhook.secret"),
            (r#""output_order":"random""#.into(), "output_order"),
            (r#""requests":[]"#.into(), "requests"),
            (r#""priority":1"#.into(), "priority"),
        ] {
            assert_eq!(order(&extra).unwrap_err().param.as_deref(), Some(param), "{extra}");
        }
    }

    #[test]
    fn the_three_required_fields_are_asked_for_by_name() {
        let limits = Limits::default();
        let file = FileId::new();
        for (body, param) in [
            ("{}".to_owned(), "input_file_id"),
            (format!(r#"{{"input_file_id":"{file}"}}"#), "endpoint"),
            (format!(r#"{{"input_file_id":"{file}","endpoint":"/v1/completions"}}"#), "completion_window"),
        ] {
            let error = BatchOrder::parse(body.as_bytes(), &limits).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), ("missing_required_parameter", Some(param)));
        }
        let error = BatchOrder::parse(br#"{"input_file_id":"nonsense"}"#, &limits).unwrap_err();
        assert_eq!((error.status, error.code), (404, "file_not_found"));
    }
}
