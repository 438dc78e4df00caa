//! A JSON schema in the keywords that the grammar library has. What it lacks is said with what it has: exactly where that is
//! possible, otherwise more strictly, never more loosely. Annotations are dropped; what cannot be said is named.

mod formats;
mod names;
mod negate;
mod references;
mod unevaluated;

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use references::{Place, References};

/// What rewriting may take, in schemas looked at and values written, and how deep schemas may stand in each other: a short schema may
/// refer to others so often that looking at all of it would never end.
const WORK_MAX: usize = 300_000;
const DEPTH_MAX: usize = 100;

/// Choices of a `oneOf` that may overlap, each of which must then exclude all others.
const OVERLAPPING_MAX: usize = 4;

/// Values of an array without duplicates: each set of them is written out.
const DISTINCT_MAX: usize = 6;

/// The keywords that stay as they are.
const KEPT: [&str; 9] = ["type", "const", "enum", "required", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];

/// The keywords whose value is a count, which a caller may write as `2.0`.
const COUNTS: [&str; 6] = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// The largest multiple of anything, either side of zero: a validator that counts with floats sees no remainder up to here.
const MULTIPLE_MAX: f64 = 1e12;

struct Rewriter<'a> {
    references: References<'a>,
    /// The schemas that references point at, by address: their names in the result.
    named: HashMap<*const Value, usize>,
    to_name: Vec<Place<'a>>,
    work: Cell<usize>,
    depth: usize,
}

/// The same schema for the grammar library, or the keyword that cannot be kept.
pub(crate) fn rewrite(schema: &Value) -> Result<Value, String> {
    let references = References::of(schema);
    let root = references.root(schema);
    let mut rewriter = Rewriter { references, named: HashMap::new(), to_name: Vec::new(), work: Cell::new(0), depth: 0 };
    let mut rewritten = rewriter.schema(&root)?;
    let mut definitions = Map::new();
    while definitions.len() < rewriter.to_name.len() {
        let place = rewriter.to_name[definitions.len()].clone();
        let definition = rewriter.schema(&place)?;
        definitions.insert(definitions.len().to_string(), definition);
    }
    if let (Some(keywords), false) = (rewritten.as_object_mut(), definitions.is_empty()) {
        keywords.insert("$defs".to_owned(), definitions.into());
    }
    Ok(rewritten)
}

impl<'a> Rewriter<'a> {
    fn schema(&mut self, place: &Place<'a>) -> Result<Value, String> {
        let rewritten = self.deeper(|rewriter| match place.schema {
            Value::Bool(_) => Ok(place.schema.clone()),
            Value::Object(keywords) => rewriter.keywords(keywords, place),
            other => Err(format!("a schema is an object or a boolean, not {other}")),
        })?;
        self.spend(work_of(&rewritten))?;
        Ok(rewritten)
    }

    /// Looks at a schema that stands in another.
    fn deeper<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.spend(1)?;
        if self.depth == DEPTH_MAX {
            return Err(format!("the schema grows beyond {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        let seen = look(self);
        self.depth -= 1;
        seen
    }

    fn spend(&self, work: usize) -> Result<(), String> {
        self.work.set(self.work.get().saturating_add(work));
        if self.work.get() > WORK_MAX { Err(format!("the schema grows beyond {WORK_MAX} values")) } else { Ok(()) }
    }

    fn keywords(&mut self, keywords: &'a Map<String, Value>, place: &Place<'a>) -> Result<Value, String> {
        let mut kept = Map::new();
        // What must hold besides.
        let mut besides = Vec::new();
        for (keyword, value) in keywords {
            let at = |schema: &'a Value| place.at(schema);
            match keyword.as_str() {
                "$ref" | "$dynamicRef" | "$recursiveRef" => besides.push(self.reference(keyword, value, place)?),
                _ if place.is_hidden(keyword) => {}
                "const" | "enum" if value.to_string().contains("\\u00") => return Err(format!("{keyword} with a control character")),
                "multipleOf" => besides.push(multiple_of(value)),
                word if KEPT.contains(&word) => drop(kept.insert(keyword.clone(), value.clone())),
                word if COUNTS.contains(&word) => drop(kept.insert(keyword.clone(), count(value))),
                "format" => besides.extend(formats::rewritten(value.as_str().unwrap_or_default())?),
                "properties" | "patternProperties" => {
                    let mut named = Map::new();
                    for (name, schema) in object(keyword, value)? {
                        named.insert(name.clone(), self.schema(&at(schema))?);
                    }
                    kept.insert(keyword.clone(), named.into());
                }
                "additionalProperties" if !keywords.contains_key("propertyNames") => {
                    kept.insert(keyword.clone(), self.schema(&at(value))?);
                }
                "prefixItems" => drop(kept.insert(keyword.clone(), self.list(keyword, value, place)?.into())),
                "items" if value.is_array() => drop(kept.insert("prefixItems".to_owned(), self.list(keyword, value, place)?.into())),
                "items" => drop(kept.insert(keyword.clone(), self.schema(&at(value))?)),
                "additionalItems" if keywords.get("items").is_some_and(Value::is_array) => {
                    kept.insert("items".to_owned(), self.schema(&at(value))?);
                }
                "allOf" => besides.extend(self.list(keyword, value, place)?),
                "anyOf" => besides.push(json!({ "anyOf": self.list(keyword, value, place)? })),
                "oneOf" => besides.push(self.one_of(value, place)?),
                "not" => besides.push(self.negation(&at(value))?),
                "if" => besides.push(self.condition(keywords, place)?),
                "dependentRequired" | "dependentSchemas" | "dependencies" => {
                    for (name, then) in object(keyword, value)? {
                        let then = if then.is_array() { json!({ "required": then }) } else { self.schema(&at(then))? };
                        let both = json!({ "required": [name], "allOf": [then] });
                        besides.push(json!({ "anyOf": [{ "properties": { name: false } }, both] }));
                    }
                }
                "contains" => besides.extend(self.contains(keywords, place)?),
                "propertyNames" => besides.extend(self.property_names(keywords, place)?),
                "uniqueItems" if *value == json!(true) => besides.extend(self.distinct(keywords, place)?),
                "unevaluatedProperties" => besides.extend(self.unevaluated_properties(value, place)?),
                "unevaluatedItems" => besides.extend(self.unevaluated_items(value, place)?),
                _ => {}
            }
        }
        if kept.is_empty() && besides.len() == 1 {
            return Ok(besides.remove(0));
        }
        if !besides.is_empty() {
            kept.insert("allOf".to_owned(), besides.into());
        }
        Ok(kept.into())
    }

    fn list(&mut self, keyword: &str, value: &'a Value, place: &Place<'a>) -> Result<Vec<Value>, String> {
        let list = value.as_array().ok_or_else(|| format!("{keyword} must be a list"))?;
        list.iter().map(|schema| self.schema(&place.at(schema))).collect()
    }

    fn reference(&mut self, keyword: &str, value: &Value, place: &Place<'a>) -> Result<Value, String> {
        let target = self.references.find(keyword, value, place)?;
        let next = self.named.len();
        let name = *self.named.entry(std::ptr::from_ref(target.schema)).or_insert(next);
        if name == next {
            self.to_name.push(target);
        }
        Ok(json!({ "$ref": format!("#/$defs/{name}") }))
    }

    /// Any of them if they exclude each other; otherwise each without all others.
    fn one_of(&mut self, value: &'a Value, place: &Place<'a>) -> Result<Value, String> {
        let choices = self.list("oneOf", value, place)?;
        let places: Vec<Place<'a>> = value.as_array().into_iter().flatten().map(|schema| place.at(schema)).collect();
        let mut overlaps = vec![Vec::new(); places.len()];
        for (a, b) in (0..places.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
            if !self.are_disjoint(&places[a], &places[b], 0) {
                overlaps[a].push(b);
                overlaps[b].push(a);
            }
        }
        self.spend(0)?;
        if overlaps.iter().any(|others| others.len() >= OVERLAPPING_MAX) {
            return Err(format!("oneOf with more than {OVERLAPPING_MAX} choices that may hold at the same time"));
        }
        let mut any = Vec::new();
        for (choice, others) in choices.into_iter().zip(overlaps) {
            let mut all = vec![choice];
            for other in others {
                all.push(self.negation(&places[other]).map_err(|reason| format!("oneOf with choices that overlap: {reason}"))?);
            }
            any.push(json!({ "allOf": all }));
        }
        Ok(json!({ "anyOf": any }))
    }

    fn condition(&mut self, keywords: &'a Map<String, Value>, place: &Place<'a>) -> Result<Value, String> {
        let holds = place.at(&keywords["if"]);
        let branch = |rewriter: &mut Self, name| keywords.get(name).map_or(Ok(json!(true)), |schema| rewriter.schema(&place.at(schema)));
        let (then, otherwise) = (branch(self, "then")?, branch(self, "else")?);
        if then == json!(true) && otherwise == json!(true) {
            return Ok(json!(true));
        }
        let mut any = vec![json!({ "allOf": [self.schema(&holds)?, then] })];
        match self.negation(&holds) {
            Ok(fails) => any.push(json!({ "allOf": [fails, otherwise] })),
            Err(reason) => return Err(format!("if: {reason}")),
        }
        Ok(json!({ "anyOf": any }))
    }

    /// The items that must be contained come first; with a maximum, none after them is like them.
    fn contains(&mut self, keywords: &'a Map<String, Value>, place: &Place<'a>) -> Result<Option<Value>, String> {
        let bound = |name| keywords.get(name).filter(|_| !place.is_hidden(name)).and_then(Value::as_f64).map(|count| count as usize);
        let (least, most) = (bound("minContains").unwrap_or(1), bound("maxContains"));
        if least == 0 && most.is_none() {
            return Ok(None);
        }
        if least > 100 {
            return Err("minContains above 100".to_owned());
        }
        if most.is_some_and(|most| most < least) {
            return Ok(Some(json!({ "maxItems": 0, "minItems": 1 })));
        }
        let contained = place.at(&keywords["contains"]);
        let rest = if most.is_some() { self.negation(&contained).map_err(|reason| format!("maxContains: {reason}"))? } else { json!(true) };
        let first = (0..least).map(|_| self.schema(&contained)).collect::<Result<Vec<Value>, String>>()?;
        Ok(Some(json!({ "prefixItems": first, "minItems": least, "items": rest })))
    }

    /// Arrays of at most one item, or of values that are listed: those in the order of the list.
    fn distinct(&mut self, keywords: &'a Map<String, Value>, place: &Place<'a>) -> Result<Option<Value>, String> {
        let at_most = |most: f64| keywords.get("maxItems").and_then(Value::as_f64).is_some_and(|items| items <= most);
        let is_array =
            keywords.get("type").is_none_or(|kind| kind == "array" || kind.as_array().is_some_and(|all| all.contains(&json!("array"))));
        if at_most(1.0) || !is_array {
            return Ok(None);
        }
        let items = keywords.get("items").map(|items| place.at(items));
        let values = items.and_then(|items| self.values(&items, 0)).filter(|values| values.len() <= DISTINCT_MAX);
        let values = values.ok_or_else(|| format!("uniqueItems where items are not one of {DISTINCT_MAX} values at most"))?;
        let sets = 0..1usize << values.len();
        let arrays = sets.map(|set| {
            let chosen: Vec<&Value> =
                values.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).map(|(_, value)| value).collect();
            json!({ "const": chosen })
        });
        let others = json!({ "type": ["null", "boolean", "number", "string", "object"] });
        Ok(Some(json!({ "anyOf": arrays.chain([others]).collect::<Vec<_>>() })))
    }
}

/// Its values; a long text counts as several.
fn work_of(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len() / 32,
        Value::Array(list) => list.iter().map(work_of).sum(),
        Value::Object(named) => named.iter().map(|(name, value)| name.len() / 32 + work_of(value)).sum(),
        _ => 0,
    }
}

fn object<'a>(keyword: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{keyword} must be an object"))
}

fn multiple_of(value: &Value) -> Value {
    json!({ "multipleOf": value, "minimum": -MULTIPLE_MAX, "maximum": MULTIPLE_MAX })
}

/// `2.0` as 2; anything else is left for the library to refuse.
fn count(value: &Value) -> Value {
    match value.as_f64() {
        Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 1e15 => json!(number as u64),
        _ => value.clone(),
    }
}
