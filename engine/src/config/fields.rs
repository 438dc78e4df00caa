//! Typed access to one JSON object, with errors that name the file, the field and the value.

use serde_json::{Map, Value};

use crate::error::LoadError;

/// Larger sizes are hostile or a mistake; below it, products of a few sizes cannot overflow.
const SIZE_MAX: u64 = 1 << 24;

/// A JSON object of a configuration file.
pub(super) struct Fields {
    file: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn parse(file: &'static str, bytes: &[u8]) -> Result<Fields, LoadError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Fields { file, map }),
            Ok(_) => Err(LoadError::malformed(file, "not a JSON object")),
            Err(error) => Err(LoadError::malformed(file, error)),
        }
    }

    /// The value of a field that is present and not null.
    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// A size that every configuration names.
    pub(super) fn required(&self, field: &'static str) -> Result<usize, LoadError> {
        self.check(field, self.has(field), "a whole number, at least 1")?;
        self.size(field, 1)
    }

    /// A size: a whole number, at least 1.
    pub(super) fn size(&self, field: &'static str, default: usize) -> Result<usize, LoadError> {
        let size = self.count(field, default)?;
        self.check(field, size >= 1, "a whole number, at least 1")?;
        Ok(size)
    }

    /// A size that may be absent (the default) or null (none).
    pub(super) fn size_or_null(&self, field: &'static str, default: Option<usize>) -> Result<Option<usize>, LoadError> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(_) => self.size(field, 1).map(Some),
        }
    }

    pub(super) fn count(&self, field: &'static str, default: usize) -> Result<usize, LoadError> {
        let Some(value) = self.value(field) else {
            return Ok(default);
        };
        match value.as_u64() {
            Some(count) if count <= SIZE_MAX => Ok(count as usize),
            _ => Err(self.unsupported(field, "a whole number of at most 16777216")),
        }
    }

    /// A count that has several spellings.
    pub(super) fn count_of(&self, fields: &[&'static str], default: usize) -> Result<usize, LoadError> {
        match fields.iter().find(|field| self.has(field)) {
            Some(field) => self.count(field, default),
            None => Ok(default),
        }
    }

    pub(super) fn float(&self, field: &'static str, default: f64) -> Result<f64, LoadError> {
        Ok(self.optional_float(field)?.unwrap_or(default))
    }

    pub(super) fn positive(&self, field: &'static str, default: f64) -> Result<f64, LoadError> {
        let value = self.float(field, default)?;
        self.check(field, value > 0.0, "a positive number")?;
        Ok(value)
    }

    pub(super) fn optional_float(&self, field: &'static str) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(float) if float.abs() < 1e12 => Ok(Some(float)),
            _ => Err(self.unsupported(field, "a number")),
        }
    }

    pub(super) fn flag(&self, field: &'static str, default: bool) -> Result<bool, LoadError> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.unsupported(field, "true or false")),
        }
    }

    /// One number or a list of them.
    pub(super) fn numbers(&self, field: &'static str) -> Result<Option<Vec<u32>>, LoadError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        match list.iter().map(number).collect() {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.unsupported(field, "a whole number or a list of them")),
        }
    }

    pub(super) fn object(&self, field: &'static str) -> Result<Option<Fields>, LoadError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { file: self.file, map: map.clone() })),
            Some(_) => Err(self.unsupported(field, "an object")),
        }
    }

    /// A name out of a closed list; absent means the default, where there is one.
    pub(super) fn expect<'a>(&'a self, field: &'static str, default: Option<&'a str>, known: &[&str]) -> Result<&'a str, LoadError> {
        let name = match self.value(field) {
            None => default,
            Some(value) => value.as_str(),
        };
        match name {
            Some(name) if known.contains(&name) => Ok(name),
            _ => Err(self.unsupported(field, &format!("expected {}", known.join(" or ")))),
        }
    }

    pub(super) fn refuse_flag(&self, field: &'static str) -> Result<(), LoadError> {
        let set = self.flag(field, false)?;
        self.check(field, !set, "false")
    }

    pub(super) fn check(&self, field: &'static str, holds: bool, expected: &str) -> Result<(), LoadError> {
        if holds { Ok(()) } else { Err(self.unsupported(field, expected)) }
    }

    fn unsupported(&self, field: &'static str, expected: &str) -> LoadError {
        let mut value = self.value(field).map_or_else(|| "(absent)".to_owned(), Value::to_string);
        if value.len() > 80 {
            value = value.chars().take(80).chain("…".chars()).collect();
        }
        LoadError::Unsupported { file: self.file, field, value, expected: expected.to_owned() }
    }
}
