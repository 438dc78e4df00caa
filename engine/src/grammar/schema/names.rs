//! `propertyNames`: which names an object may have, as names or as one expression.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Rewriter;
use super::references::Place;

enum Names {
    All,
    Listed(Vec<String>),
    Like(String),
}

impl<'a> Rewriter<'a> {
    /// The object with these names alone, and beside it the `additionalProperties` that were left out for it.
    pub(super) fn property_names(&mut self, keywords: &'a Map<String, Value>, place: &Place<'a>) -> Result<Vec<Value>, String> {
        let unchecked =
            |word| keywords.get(word).and_then(Value::as_object).into_iter().flat_map(Map::keys).map(|name| (name.clone(), json!(true)));
        let mut both = Vec::new();
        if let Some(rest) = keywords.get("additionalProperties") {
            let named: Map<String, Value> = unchecked("properties").collect();
            let like: Map<String, Value> = unchecked("patternProperties").collect();
            both.push(json!({ "properties": named, "patternProperties": like, "additionalProperties": self.schema(&place.at(rest))? }));
        }
        match self.names(&place.at(&keywords["propertyNames"]))? {
            Names::All => {}
            Names::Listed(names) => {
                let named: Map<String, Value> = names.into_iter().map(|name| (name, json!(true))).collect();
                both.push(json!({ "properties": named, "additionalProperties": false }));
            }
            Names::Like(pattern) => both.push(json!({ "patternProperties": { pattern: true }, "additionalProperties": false })),
        }
        Ok(both)
    }

    fn names(&mut self, place: &Place<'a>) -> Result<Names, String> {
        let names = self.deeper(|rewriter| rewriter.names_of(place))?;
        self.spend(names.work())?;
        Ok(names)
    }

    fn names_of(&mut self, place: &Place<'a>) -> Result<Names, String> {
        let Some(keywords) = place.schema.as_object() else {
            return Ok(if place.schema == &json!(true) { Names::All } else { Names::Listed(Vec::new()) });
        };
        let mut names = Names::All;
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| !place.is_hidden(keyword)) {
            let more = match keyword.as_str() {
                "type" if value == "string" || value.as_array().is_some_and(|all| all.contains(&json!("string"))) => Names::All,
                "type" => Names::Listed(Vec::new()),
                "const" | "enum" => {
                    let values = if keyword == "const" { vec![value.clone()] } else { value.as_array().cloned().unwrap_or_default() };
                    Names::Listed(values.iter().filter_map(|value| Some(value.as_str()?.to_owned())).collect())
                }
                "pattern" => Names::Like(value.as_str().unwrap_or_default().to_owned()),
                "minLength" | "maxLength" if names_length(&names) => continue,
                "minLength" | "maxLength" => {
                    let bound = |word: &str| {
                        keywords.get(word).map_or(Some(String::new()), |count| Some(super::count(count).as_u64()?.to_string()))
                    };
                    let (least, most) = bound("minLength").zip(bound("maxLength")).ok_or("propertyNames with a length that is no count")?;
                    Names::Like(format!("^(?s:.{{{},{most}}})$", if least.is_empty() { "0" } else { &least }))
                }
                "$ref" => self.names(&self.references.find(keyword, value, place)?)?,
                "allOf" | "anyOf" => {
                    let all = value.as_array().into_iter().flatten().map(|schema| self.names(&place.at(schema)));
                    let all = all.collect::<Result<Vec<Names>, String>>()?;
                    let unite = if keyword == "allOf" { Names::and } else { Names::or };
                    all.into_iter().map(Ok).reduce(|a, b| unite(a?, b?)).unwrap_or(Ok(Names::All))?
                }
                "format" | "oneOf" | "not" | "if" | "$dynamicRef" => return Err(format!("propertyNames with {keyword}")),
                _ => continue,
            };
            names = names.and(more)?;
        }
        Ok(names)
    }
}

/// Lengths are read together, at the first of their keywords.
fn names_length(names: &Names) -> bool {
    matches!(names, Names::Like(pattern) if pattern.starts_with("^(?s:.{"))
}

impl Names {
    fn work(&self) -> usize {
        match self {
            Names::All => 0,
            Names::Listed(names) => names.iter().map(|name| 1 + name.len() / 32).sum(),
            Names::Like(pattern) => pattern.len() / 32,
        }
    }

    fn and(self, other: Names) -> Result<Names, String> {
        match (self, other) {
            (Names::All, names) | (names, Names::All) => Ok(names),
            (Names::Listed(a), Names::Listed(b)) => {
                let both: HashSet<String> = b.into_iter().collect();
                Ok(Names::Listed(a.into_iter().filter(|name| both.contains(name)).collect()))
            }
            (Names::Listed(none), _) | (_, Names::Listed(none)) if none.is_empty() => Ok(Names::Listed(none)),
            _ => Err("propertyNames that match several expressions at once".to_owned()),
        }
    }

    fn or(self, other: Names) -> Result<Names, String> {
        let like = |names: Names| match names {
            Names::All => "".to_owned(),
            Names::Like(pattern) => format!("(?:{pattern})"),
            Names::Listed(names) => {
                let escaped =
                    |name: &String| name.chars().map(|character| format!("\\x{{{:x}}}", u32::from(character))).collect::<String>();
                format!("^(?:{})$", names.iter().map(escaped).collect::<Vec<_>>().join("|"))
            }
        };
        Ok(match (self, other) {
            (Names::All, _) | (_, Names::All) => Names::All,
            (Names::Listed(a), Names::Listed(b)) => Names::Listed([a, b].concat()),
            (Names::Listed(none), names) | (names, Names::Listed(none)) if none.is_empty() => names,
            (a, b) => Names::Like(format!("{}|{}", like(a), like(b))),
        })
    }
}
