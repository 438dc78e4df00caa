//! The form a caller wants the answer in: OpenAI's `response_format` and vLLM's spellings of the same wish. Which schemas and
//! expressions can be kept is for the engine to judge.

use serde_json::Value;

use crate::{error::ApiError, fields::Fields};

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    JsonObject,
    JsonSchema(Value),
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// The one format that a body asks for.
pub(super) fn format(fields: &mut Fields) -> Result<Option<Format>, ApiError> {
    let wishes = [
        ("response_format", response_format(fields)?),
        ("guided_json", schema(fields, "guided_json")?),
        ("guided_regex", regex(fields, "guided_regex")?),
        ("guided_choice", choice(fields, "guided_choice")?),
        ("structured_outputs", structured_outputs(fields)?),
    ];
    let mut wishes = wishes.into_iter().filter_map(|(name, wish)| Some((name, wish?)));
    let first = wishes.next();
    match wishes.next() {
        None => Ok(first.map(|(_, wish)| wish)),
        Some((second, _)) => Err(ApiError::invalid_value(second, format!("`{second}` asks for a second format of the same answer"))),
    }
}

fn response_format(fields: &mut Fields) -> Result<Option<Format>, ApiError> {
    let Some(value) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::of(value, "response_format")?;
    match format.required_string("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            let described = format.take("json_schema").ok_or_else(|| ApiError::missing(format.param("json_schema")))?;
            let mut described = Fields::of(described, "response_format.json_schema")?;
            let schema = schema(&mut described, "schema")?;
            Ok(Some(schema.ok_or_else(|| ApiError::missing(described.param("schema")))?))
        }
        _ => Err(format.wrong("type", "must be one of text, json_object, json_schema")),
    }
}

/// vLLM's later spelling: one object with one of its keys set.
fn structured_outputs(fields: &mut Fields) -> Result<Option<Format>, ApiError> {
    let Some(value) = fields.take("structured_outputs") else { return Ok(None) };
    let mut wish = Fields::of(value, "structured_outputs")?;
    let object = wish.boolean("json_object")?.unwrap_or(false).then_some(Format::JsonObject);
    let asked = [object, schema(&mut wish, "json")?, regex(&mut wish, "regex")?, choice(&mut wish, "choice")?];
    if let Some(name) = wish.left_over().next() {
        return Err(ApiError::unsupported(wish.param(name), format!("`{name}` is not supported; json, json_object, regex and choice are")));
    }
    let mut asked = asked.into_iter().flatten();
    match (asked.next(), asked.next()) {
        (Some(format), None) => Ok(Some(format)),
        _ => Err(ApiError::invalid_value(
            "structured_outputs",
            "`structured_outputs` must set exactly one of json, json_object, regex, choice",
        )),
    }
}

/// A JSON Schema, as it is or as JSON text.
fn schema(fields: &mut Fields, name: &str) -> Result<Option<Format>, ApiError> {
    let value = match fields.take(name) {
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::Null),
        None => return Ok(None),
        Some(value) => value,
    };
    match value {
        Value::Object(_) | Value::Bool(_) => Ok(Some(Format::JsonSchema(value))),
        _ => Err(fields.wrong(name, "must be a JSON Schema")),
    }
}

fn regex(fields: &mut Fields, name: &str) -> Result<Option<Format>, ApiError> {
    Ok(fields.string(name)?.map(Format::Regex))
}

fn choice(fields: &mut Fields, name: &str) -> Result<Option<Format>, ApiError> {
    let Some(value) = fields.take(name) else { return Ok(None) };
    let texts = value.as_array().map(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    match texts.flatten() {
        Some(texts) if !texts.is_empty() => Ok(Some(Format::Choice(texts))),
        _ => Err(fields.wrong(name, "must be a list of at least one string")),
    }
}
