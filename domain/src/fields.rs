//! Typed access to the fields of a JSON object, with errors that name the field; what nobody asked for is left over.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of one object, taken out one by one. `null` counts as absent.
pub struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Reads the JSON text of a whole body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        // The position is safe to tell, the text around it is not: serde's own message may quote it.
        let value = serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid("invalid_json", format!("the body is not valid JSON (line {}, column {})", error.line(), error.column()))
        })?;
        Self::of(value, "")
    }

    /// Takes a value apart; `path` is what errors call it (empty for the body itself).
    pub fn of(value: Value, path: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            _ if path.is_empty() => Err(ApiError::invalid("invalid_json", "the body must be a JSON object")),
            _ => Err(ApiError::invalid_value(path, format!("`{path}` must be an object"))),
        }
    }

    /// The name of a field as errors give it.
    pub fn param(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes any value out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A string, if there is one.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// A string that must be there.
    pub fn required_string(&mut self, name: &str) -> Result<String, ApiError> {
        self.string(name)?.ok_or_else(|| ApiError::missing(self.param(name)))
    }

    /// `true` or `false`, if there is one.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// A number from `low` to `high`.
    pub fn number(&mut self, name: &str, low: f64, high: f64) -> Result<Option<f32>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if (low..=high).contains(&number) => Ok(Some(number as f32)),
                _ => Err(self.wrong(name, &format!("must be a number from {low} to {high}"))),
            },
        }
    }

    /// A whole number from `low` to `high`.
    pub fn integer(&mut self, name: &str, low: i64, high: i64) -> Result<Option<i64>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
                _ => Err(self.wrong(name, &format!("must be a whole number from {low} to {high}"))),
            },
        }
    }

    /// A count that fits a token position.
    pub fn count(&mut self, name: &str, low: i64) -> Result<Option<u32>, ApiError> {
        Ok(self.integer(name, low, i64::from(u32::MAX))?.map(|number| number as u32))
    }

    /// A list of token ids, at most `max`.
    pub fn token_ids(&mut self, name: &str, max: usize) -> Result<Option<Vec<u32>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match token_ids(&value) {
                Some(ids) if ids.len() <= max => Ok(Some(ids)),
                _ => Err(self.wrong(name, &format!("must be a list of at most {max} token ids"))),
            },
        }
    }

    /// A 400 about one field of this object.
    pub fn wrong(&self, name: &str, rule: &str) -> ApiError {
        let param = self.param(name);
        ApiError::invalid_value(param.clone(), format!("`{param}` {rule}"))
    }

    /// The fields that nobody has taken.
    pub fn left_over(&self) -> impl Iterator<Item = &String> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name)
    }
}

/// A JSON list of token ids; `None` if it is anything else.
pub fn token_ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}
