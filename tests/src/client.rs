//! An HTTP client as plain as the wire: it hands out status, headers and body, and hides none of them.

use std::time::Duration;

use reqwest::{
    RequestBuilder,
    header::HeaderMap,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::waiting::{PATIENCE, eventually};

/// Speaks for one tenant.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// What came back.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("{} without JSON: {}", self.status, String::from_utf8_lossy(&self.bytes)))
    }

    /// The body as JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.bytes).expect("JSON lines are text");
        text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
    }

    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }

    /// Itself, if the status says that all went well.
    pub fn expect_ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl Client {
    /// A client of the server at a base URL.
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(300)).no_proxy().build().expect("a client");
        Self { http, url: url.to_owned(), key: key.map(str::to_owned) }
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The API key, where one is needed.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.http.get(self.at(path))).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.http.post(self.at(path)).json(body)).await
    }

    /// POST of JSON with a header.
    pub async fn post_with(&self, path: &str, header: (&str, &str), body: &Value) -> Reply {
        self.send(self.http.post(self.at(path)).header(header.0, header.1).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.http.delete(self.at(path))).await
    }

    /// Uploads a batch file and returns its id.
    pub async fn upload(&self, lines: impl Into<Vec<u8>>) -> String {
        let file = Part::bytes(lines.into()).file_name("input.jsonl");
        let form = Form::new().text("purpose", "batch").part("file", file);
        let reply = self.send(self.http.post(self.at("/v1/files")).multipart(form)).await.expect_ok();
        id(&reply.json())
    }

    /// Creates a batch of chat completions over an uploaded file, with further fields, and returns its id.
    pub async fn create_batch(&self, file: &str, further: Value) -> String {
        let mut body = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
        body.as_object_mut().expect("an object").extend(further.as_object().cloned().unwrap_or_default());
        id(&self.post("/v1/batches", &body).await.expect_ok().json())
    }

    /// The batch as it is now.
    pub async fn batch(&self, batch: &str) -> Value {
        let path = format!("/v1/batches/{batch}");
        // As the SDKs do, it asks again while a part of the service does not answer.
        let look = async || Some(self.get(&path).await).filter(|reply| reply.status != 503);
        eventually("the batch can be read", PATIENCE, look).await.expect_ok().json()
    }

    /// The batch once it has ended.
    pub async fn ended_batch(&self, batch: &str) -> Value {
        eventually("the batch ends", PATIENCE * 2, async || {
            let batch = self.batch(batch).await;
            ["completed", "failed", "expired", "cancelled"].contains(&batch["status"].as_str()?).then_some(batch)
        })
        .await
    }

    /// The lines of a result file that a batch names; none if it names none.
    pub async fn results(&self, file: &Value) -> Vec<Value> {
        match file.as_str() {
            Some(file) => self.get(&format!("/v1/files/{file}/content")).await.expect_ok().lines(),
            None => Vec::new(),
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, bytes: response.bytes().await.expect("the body arrives whole").to_vec() }
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().expect("an object has an id").to_owned()
}
