//! The HTTP client of the `batch` commands: our own API, as any client sees it.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, Response, multipart};
use serde_json::Value;

/// Which server, and as whom.
#[derive(clap::Args, Clone)]
pub struct Server {
    /// Address of the server.
    #[arg(long, env = "MILLRACE_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
    /// API key; by environment only, so that it does not show in process lists.
    #[arg(skip = std::env::var("MILLRACE_API_KEY").ok())]
    key: Option<String>,
}

/// A connection to one server.
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two bytes of an answer, not for the whole of it: files may be large.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

impl Server {
    /// Prepares a client; nothing is sent yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build()?;
        let base = self.url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Client { http, base, key: self.key.clone() })
    }
}

impl Client {
    /// `GET` of a JSON object.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.send(self.request(Method::GET, path)).await?.json().await?)
    }

    /// `POST` of a JSON object, answered by one.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        Ok(self.send(self.request(Method::POST, path).json(body)).await?.json().await?)
    }

    /// Uploads a batch input file without holding it in memory.
    pub async fn upload(&self, file: &Path) -> anyhow::Result<Value> {
        let part = multipart::Part::file(file).await.with_context(|| format!("cannot read `{}`", file.display()))?;
        let form = multipart::Form::new().text("purpose", "batch").part("file", part);
        Ok(self.send(self.request(Method::POST, "/v1/files").multipart(form)).await?.json().await?)
    }

    /// The content of a file, as a stream of chunks.
    pub async fn content(&self, file_id: &str) -> anyhow::Result<Response> {
        self.send(self.request(Method::GET, &format!("/v1/files/{file_id}/content"))).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| format!("cannot reach {}", self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let error = &body["error"];
        match (error["message"].as_str(), error["code"].as_str()) {
            (Some(message), Some(code)) => bail!("{message} ({code})"),
            _ => bail!("the server answered {status}"),
        }
    }
}
