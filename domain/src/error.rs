//! The error envelope of the wire contract: what a caller is told, and whether trying again makes sense.

use serde_json::{Value, json};

/// A refusal or fault in the shape that OpenAI's clients read. The message never quotes prompts or answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// The field at fault, as a path such as `messages[0].role`.
    pub param: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

impl ApiError {
    /// A 400 that names a code.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", code, message)
    }

    /// A 400 about the value of one field.
    pub fn invalid_value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid("invalid_value", message).param(param)
    }

    /// A 400 about a field that must be there.
    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self::invalid("missing_required_parameter", format!("`{param}` is required")).param(param)
    }

    /// A 400 about a field that would change the answer and is not implemented.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid("unsupported_parameter", message).param(param)
    }

    /// A 401: no key, or one that is unknown or revoked.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", "invalid_api_key", message)
    }

    /// A 404; also what another tenant's objects look like.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(404, "invalid_request_error", code, message)
    }

    /// A 500 after which the caller learns nothing but the request id.
    pub fn server() -> Self {
        Self::new(500, "server_error", "server_error", "Something broke on our side. The request id helps to find it.")
    }

    /// Any other status of the contract.
    pub fn new(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code, param: None, message: message.into() }
    }

    /// The same error, with the field it is about.
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The body of a non-2xx answer: all four keys, always.
    pub fn envelope(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}
