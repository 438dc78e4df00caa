//! `unevaluatedProperties` and `unevaluatedItems`: for each way in which the rest of a schema can hold, what it has looked at is
//! named, and what is left is said with `additionalProperties` and `items`.

use serde_json::{Map, Value, json};

use super::Rewriter;
use super::references::Place;

const WAYS_MAX: usize = 32;

/// One way in which a schema holds.
#[derive(Clone, Default)]
struct Way {
    /// What chooses this way.
    holds: Vec<Value>,
    names: Map<String, Value>,
    patterns: Map<String, Value>,
    all_properties: bool,
    items: usize,
    all_items: bool,
}

impl<'a> Rewriter<'a> {
    pub(super) fn unevaluated_properties(&mut self, value: &'a Value, place: &Place<'a>) -> Result<Option<Value>, String> {
        let rest = self.schema(&place.at(value))?;
        let ways = self.ways(place, Some("unevaluatedProperties"))?;
        let left = |way: &Way| match way.all_properties {
            true => json!(true),
            false => json!({ "properties": way.names, "patternProperties": way.patterns, "additionalProperties": rest }),
        };
        Ok(any(&ways, left))
    }

    pub(super) fn unevaluated_items(&mut self, value: &'a Value, place: &Place<'a>) -> Result<Option<Value>, String> {
        let rest = self.schema(&place.at(value))?;
        let ways = self.ways(place, Some("unevaluatedItems"))?;
        let left = |way: &Way| match way.all_items {
            true => json!(true),
            false => json!({ "prefixItems": vec![true; way.items], "items": rest }),
        };
        Ok(any(&ways, left))
    }

    /// The ways of a schema, but for one keyword of it.
    fn ways(&mut self, place: &Place<'a>, except: Option<&str>) -> Result<Vec<Way>, String> {
        let ways = self.deeper(|rewriter| rewriter.ways_of(place, except))?;
        self.spend(ways.iter().flat_map(|way| &way.holds).map(super::work_of).sum())?;
        Ok(ways)
    }

    fn ways_of(&mut self, place: &Place<'a>, except: Option<&str>) -> Result<Vec<Way>, String> {
        let Some(keywords) = place.schema.as_object() else { return Ok(vec![Way::default()]) };
        let mut ways = vec![Way::default()];
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| Some(keyword.as_str()) != except && !place.is_hidden(keyword)) {
            let mut own = Way::default();
            let schemas: &[Value] = value.as_array().map_or(&[], Vec::as_slice);
            let seen = || value.as_object().into_iter().flat_map(Map::keys).map(|name| (name.clone(), json!(true))).collect();
            let more = match keyword.as_str() {
                "properties" => (own.names = seen(), vec![own]).1,
                "patternProperties" => (own.patterns = seen(), vec![own]).1,
                "additionalProperties" | "unevaluatedProperties" => (own.all_properties = true, vec![own]).1,
                "prefixItems" => (own.items = schemas.len(), vec![own]).1,
                "items" if value.is_array() => (own.items = schemas.len(), vec![own]).1,
                "items" | "additionalItems" | "unevaluatedItems" => (own.all_items = true, vec![own]).1,
                "$ref" | "$dynamicRef" | "$recursiveRef" => self.ways(&self.references.find(keyword, value, place)?, None)?,
                "allOf" => {
                    for schema in schemas {
                        ways = pairs(&ways, &self.ways(&place.at(schema), None)?)?;
                    }
                    continue;
                }
                "anyOf" | "oneOf" => {
                    let mut all = Vec::new();
                    for schema in schemas {
                        all.extend(self.ways_if(&place.at(schema))?);
                    }
                    all
                }
                "if" => {
                    let condition = place.at(value);
                    let branch = |rewriter: &mut Self, name| {
                        keywords.get(name).map_or(Ok(vec![Way::default()]), |schema| rewriter.ways(&place.at(schema), None))
                    };
                    let mut all = pairs(&self.ways_if(&condition)?, &branch(self, "then")?)?;
                    let fails = Way { holds: vec![self.negation(&condition)?], ..Way::default() };
                    all.extend(pairs(&[fails], &branch(self, "else")?)?);
                    all
                }
                "dependentSchemas" => {
                    for (name, schema) in super::object(keyword, value)? {
                        let without = Way { holds: vec![json!({ "properties": { name: false } })], ..Way::default() };
                        let with = Way { holds: vec![json!({ "required": [name] })], ..Way::default() };
                        let mut both = pairs(&[with], &self.ways(&place.at(schema), None)?)?;
                        both.push(without);
                        ways = pairs(&ways, &both)?;
                    }
                    continue;
                }
                _ => continue,
            };
            ways = pairs(&ways, &more)?;
        }
        Ok(ways)
    }

    /// The ways of a schema that need not hold.
    fn ways_if(&mut self, place: &Place<'a>) -> Result<Vec<Way>, String> {
        let schema = self.schema(place)?;
        let mut ways = self.ways(place, None)?;
        ways.iter_mut().for_each(|way| way.holds.push(schema.clone()));
        Ok(ways)
    }
}

fn pairs(left: &[Way], right: &[Way]) -> Result<Vec<Way>, String> {
    if left.len() * right.len() > WAYS_MAX {
        return Err(format!("unevaluatedProperties or unevaluatedItems beside more than {WAYS_MAX} combinations of choices"));
    }
    let both = |a: &Way, b: &Way| Way {
        holds: [a.holds.clone(), b.holds.clone()].concat(),
        names: a.names.clone().into_iter().chain(b.names.clone()).collect(),
        patterns: a.patterns.clone().into_iter().chain(b.patterns.clone()).collect(),
        all_properties: a.all_properties || b.all_properties,
        items: a.items.max(b.items),
        all_items: a.all_items || b.all_items,
    };
    Ok(left.iter().flat_map(|a| right.iter().map(move |b| both(a, b))).collect())
}

fn any(ways: &[Way], left: impl Fn(&Way) -> Value) -> Option<Value> {
    if ways.iter().all(|way| left(way) == json!(true)) {
        return None;
    }
    let all = |way: &Way| {
        let parts = [way.holds.clone(), vec![left(way)]].concat();
        json!({ "allOf": parts })
    };
    Some(json!({ "anyOf": ways.iter().map(all).collect::<Vec<_>>() }))
}
