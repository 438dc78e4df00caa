//! What a schema excludes: its opposite, written with keywords that the library has, and whether two schemas exclude each other.
//! An opposite may be stricter than it must be, never looser.

use serde_json::{Value, json};

use super::Rewriter;
use super::references::Place;

const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// References and choices followed to see whether two schemas exclude each other.
const STEPS_MAX: usize = 8;

/// The longest text whose opposite is an expression; for longer ones only the length differs.
const LITERAL_MAX: usize = 48;

impl<'a> Rewriter<'a> {
    /// A schema for values that this one excludes.
    pub(super) fn negation(&mut self, place: &Place<'a>) -> Result<Value, String> {
        let Value::Object(keywords) = place.schema else { return Ok(json!(place.schema == &json!(false))) };
        let (mut any, mut lacking) = (Vec::new(), None);
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| !place.is_hidden(keyword)) {
            match self.deeper(|rewriter| rewriter.opposite(keyword, value, place))? {
                Some(more) => any.extend(more),
                None => lacking = Some(keyword),
            }
        }
        self.spend(any.iter().map(super::work_of).sum())?;
        match lacking {
            Some(keyword) if any.is_empty() => Err(format!("not with {keyword}")),
            _ if any.is_empty() => Ok(json!(false)),
            _ => Ok(json!({ "anyOf": any })),
        }
    }

    /// Ways to break this keyword alone; None if there is none that the library could keep to.
    fn opposite(&mut self, keyword: &str, value: &'a Value, place: &Place<'a>) -> Result<Option<Vec<Value>>, String> {
        let one_less = || value.as_f64().map(|count| count - 1.0).filter(|count| *count >= 0.0);
        let one_more = || value.as_f64().map(|count| count + 1.0);
        let bound = |kind: &str, word: &str, limit: Option<f64>| {
            limit.map(|limit| vec![json!({ "type": kind, word: limit as u64 })]).unwrap_or_default()
        };
        let limit = |word: &str| vec![json!({ "type": "number", word: value })];
        let all: &[Value] = value.as_array().map_or(&[], Vec::as_slice);
        let found = match keyword {
            "type" => {
                let types: Vec<&str> = TYPES.into_iter().filter(|kind| !names_type(value, kind)).collect();
                if types.is_empty() { vec![] } else { vec![json!({ "type": types })] }
            }
            "const" => vec![other_than(value)],
            "enum" => vec![json!({ "allOf": all.iter().map(other_than).collect::<Vec<_>>() })],
            "required" => {
                all.iter().filter_map(Value::as_str).map(|name| json!({ "type": "object", "properties": { name: false } })).collect()
            }
            "properties" => {
                let mut any = Vec::new();
                for (name, schema) in super::object(keyword, value)? {
                    if let Ok(not) = self.negation(&place.at(schema)) {
                        any.push(json!({ "type": "object", "required": [name], "properties": { name: not } }));
                    }
                }
                any
            }
            "items" if !value.is_array() => self
                .negation(&place.at(value))
                .map(|not| vec![json!({ "type": "array", "minItems": 1, "prefixItems": [not] })])
                .unwrap_or_default(),
            "minimum" => limit("exclusiveMaximum"),
            "maximum" => limit("exclusiveMinimum"),
            "exclusiveMinimum" if value.is_number() => limit("maximum"),
            "exclusiveMaximum" if value.is_number() => limit("minimum"),
            "minLength" => bound("string", "maxLength", one_less()),
            "maxLength" => bound("string", "minLength", one_more()),
            "minItems" => bound("array", "maxItems", one_less()),
            "maxItems" => bound("array", "minItems", one_more()),
            "not" => vec![self.schema(&place.at(value))?],
            "$ref" => {
                let target = self.references.find(keyword, value, place)?;
                vec![self.negation(&target)?]
            }
            "allOf" => all.iter().filter_map(|schema| self.negation(&place.at(schema)).ok()).collect(),
            "anyOf" | "oneOf" => {
                let nots: Result<Vec<Value>, String> = all.iter().map(|schema| self.negation(&place.at(schema))).collect();
                nots.map(|nots| vec![json!({ "allOf": nots })]).unwrap_or_default()
            }
            "$schema" | "$id" | "$defs" | "definitions" | "$comment" | "title" | "description" | "default" | "examples" => {
                return Ok(Some(Vec::new()));
            }
            _ => Vec::new(),
        };
        Ok(Some(found).filter(|found| !found.is_empty()))
    }

    /// Whether no value can be valid under both. False if that is not seen.
    pub(super) fn are_disjoint(&self, a: &Place<'a>, b: &Place<'a>, steps: usize) -> bool {
        if steps > STEPS_MAX || self.spend(1).is_err() {
            return false;
        }
        let (all_a, all_b) = (self.parts(a, steps), self.parts(b, steps));
        let is_object = all_a.iter().chain(&all_b).any(|part| part.schema.get("type") == Some(&json!("object")));
        let requires = |name: &str| all_a.iter().chain(&all_b).any(|part| required(part).any(|other| other == name));
        let is_closed_to = |part: &Place, others: &[Place]| {
            let open = part.schema.get("additionalProperties") != Some(&json!(false)) || part.schema.get("patternProperties").is_some();
            let has = |name: &str| part.schema.get("properties").is_some_and(|all| all.get(name).is_some());
            !open && others.iter().flat_map(required).any(|name| !has(name))
        };
        all_a.iter().flat_map(|a| all_b.iter().map(move |b| (a, b))).any(|(a, b)| {
            if a.schema == &json!(false) || b.schema == &json!(false) || self.exclude_each_other(a, b, steps) {
                return true;
            }
            let choices = |one: &Place<'a>, other: &Place<'a>| {
                let lists = ["anyOf", "oneOf"].into_iter().filter_map(|word| one.schema.get(word)?.as_array());
                lists.into_iter().any(|list| list.iter().all(|choice| self.are_disjoint(&one.at(choice), other, steps + 1)))
            };
            let named = |part: &Place<'a>| part.schema.get("properties").and_then(Value::as_object);
            let shared = named(a).zip(named(b)).is_some_and(|(a_named, b_named)| {
                let both = a_named.iter().filter_map(|(name, schema)| Some((name, schema, b_named.get(name)?)));
                both.into_iter().any(|(name, one, other)| requires(name) && self.are_disjoint(&a.at(one), &b.at(other), steps + 1))
            });
            (is_object && (shared || is_closed_to(a, &all_b) || is_closed_to(b, &all_a))) || choices(a, b) || choices(b, a)
        })
    }

    /// By the types or the values that they name.
    fn exclude_each_other(&self, a: &Place<'a>, b: &Place<'a>, steps: usize) -> bool {
        let (a_values, b_values) = (self.values(a, steps), self.values(b, steps));
        let (a_types, b_types) = (a.schema.get("type"), b.schema.get("type"));
        let lacks = |values: &[Value], types: &Value| values.iter().all(|value| !names_type(types, type_of(value)));
        match (a_values, b_values, a_types, b_types) {
            (Some(a), Some(b), ..) => self.spend(a.len() * b.len()).is_ok() && !a.iter().any(|a| b.iter().any(|b| same(a, b))),
            (Some(values), None, _, Some(types)) | (None, Some(values), Some(types), _) => lacks(&values, types),
            (None, None, Some(a), Some(b)) => !TYPES.iter().any(|kind| names_type(a, kind) && names_type(b, kind)),
            _ => false,
        }
    }

    /// Schemas that must all hold where this one does.
    fn parts(&self, place: &Place<'a>, steps: usize) -> Vec<Place<'a>> {
        let mut parts = vec![place.clone()];
        if steps > STEPS_MAX || self.spend(1).is_err() {
            return parts;
        }
        if let Some(target) = place.schema.get("$ref").and_then(|value| self.references.find("$ref", value, place).ok()) {
            parts.extend(self.parts(&target, steps + 1));
        }
        for schema in place.schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            parts.extend(self.parts(&place.at(schema), steps + 1));
        }
        parts
    }

    /// All values that are valid, if the schema lists them.
    pub(super) fn values(&self, place: &Place<'a>, steps: usize) -> Option<Vec<Value>> {
        let keywords = place.schema.as_object().filter(|_| steps <= STEPS_MAX)?;
        if let Some(reference) = keywords.get("$ref") {
            return self.values(&self.references.find("$ref", reference, place).ok()?, steps + 1);
        }
        let one = keywords.get("const").filter(|_| !place.is_hidden("const")).map(|value| vec![value.clone()]);
        let listed = one.or_else(|| keywords.get("enum")?.as_array().cloned()).or_else(|| match keywords.get("type")?.as_str()? {
            "boolean" => Some(vec![json!(false), json!(true)]),
            "null" => Some(vec![json!(null)]),
            _ => None,
        })?;
        self.spend(listed.iter().map(super::work_of).sum()).ok()?;
        Some(listed)
    }
}

fn required<'p>(place: &'p Place) -> impl Iterator<Item = &'p str> {
    place.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether `type` lets values of this kind in; an integer is a number.
fn names_type(types: &Value, kind: &str) -> bool {
    let is = |name: &Value| name == kind || kind == "number" && name == "integer";
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equal as JSON Schema has it: 1 is 1.0. Lists and objects count as equal unless they are seen not to be.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len(),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len(),
        _ => a == b,
    }
}

/// All values but this one.
fn other_than(value: &Value) -> Value {
    let others: Vec<&str> = TYPES.into_iter().filter(|kind| *kind != type_of(value)).collect();
    let mut any = vec![json!({ "type": others })];
    match value {
        Value::Null => {}
        Value::Bool(value) => any.push(json!({ "const": !value })),
        Value::Number(_) => {
            any.extend([json!({ "type": "number", "exclusiveMaximum": value }), json!({ "type": "number", "exclusiveMinimum": value })]);
        }
        Value::String(text) if text.chars().count() <= LITERAL_MAX => any.push(json!({ "type": "string", "pattern": any_but(text) })),
        Value::String(text) => {
            let length = text.chars().count();
            any.extend([json!({ "type": "string", "maxLength": length - 1 }), json!({ "type": "string", "minLength": length + 1 })]);
        }
        Value::Array(list) => {
            any.push(json!({ "type": "array", "minItems": list.len() + 1 }));
            any.extend((!list.is_empty()).then(|| json!({ "type": "array", "maxItems": list.len() - 1 })));
        }
        Value::Object(named) => {
            any.extend(named.keys().map(|name| json!({ "type": "object", "properties": { name: false } })));
            any.extend(
                named
                    .iter()
                    .map(|(name, value)| json!({ "type": "object", "required": [name], "properties": { name: other_than(value) } })),
            );
            any.extend(named.is_empty().then(|| json!({ "type": "object", "minProperties": 1 })));
        }
    }
    json!({ "anyOf": any })
}

/// An expression for every text but this: it ends early, goes on after it, or has another character somewhere.
fn any_but(text: &str) -> String {
    let rest = text.chars().rev().fold("(?s:.+)".to_owned(), |rest, character| {
        let code = u32::from(character);
        format!("(?:[^\\x{{{code:x}}}](?s:.*)|\\x{{{code:x}}}{rest})?")
    });
    format!("^{rest}$")
}
