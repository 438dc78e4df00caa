//! Where references in a schema point: identifiers, anchors and pointers. Nothing outside the schema is ever looked up.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

/// The year of draft 2020-12; older drafts that have numbers count as such.
const LATEST: u16 = 2020;

/// Keywords that older drafts do not know, with the draft that brought them.
const SINCE: [(&str, u16); 11] = [
    ("const", 6),
    ("contains", 6),
    ("propertyNames", 6),
    ("if", 7),
    ("dependentRequired", 2019),
    ("dependentSchemas", 2019),
    ("minContains", 2019),
    ("maxContains", 2019),
    ("unevaluatedProperties", 2019),
    ("unevaluatedItems", 2019),
    ("prefixItems", LATEST),
];

/// A schema, and what names in it are relative to.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    base: Rc<str>,
    draft: u16,
}

pub(super) struct References<'a> {
    by_uri: HashMap<String, Place<'a>>,
    /// How many schemas bear a dynamic anchor of this name.
    dynamic: HashMap<&'a str, usize>,
}

impl<'a> Place<'a> {
    /// A schema inside this one.
    pub(super) fn at(&self, schema: &'a Value) -> Place<'a> {
        let mut draft = self.draft;
        if let Some(uri) = schema.get("$schema").and_then(Value::as_str) {
            let drafts = [("draft-04", 4), ("draft-06", 6), ("draft-07", 7), ("2019-09", 2019)];
            draft = drafts.into_iter().find(|(name, _)| uri.contains(name)).map_or(LATEST, |(_, draft)| draft);
        }
        let id = schema.get(if draft == 4 { "id" } else { "$id" }).and_then(Value::as_str);
        let id = id.filter(|id| !id.starts_with('#') && (draft > 7 || schema.get("$ref").is_none()));
        let base = id.map_or_else(|| self.base.clone(), |id| join(&self.base, id).into());
        Place { schema, base, draft }
    }

    /// Whether a keyword says nothing here: its draft is later, or a reference stands beside it in a draft that reads nothing else.
    pub(super) fn is_hidden(&self, keyword: &str) -> bool {
        SINCE.iter().any(|(later, draft)| *later == keyword && self.draft < *draft)
            || (self.draft <= 7 && self.schema.get("$ref").is_some_and(Value::is_string))
            || (keyword == "additionalItems" && self.draft == LATEST)
    }
}

impl<'a> References<'a> {
    pub(super) fn of(schema: &'a Value) -> References<'a> {
        let mut references = References { by_uri: HashMap::new(), dynamic: HashMap::new() };
        let root = references.root(schema);
        references.by_uri.insert(String::new(), root.clone());
        references.collect(&root, 0);
        references
    }

    pub(super) fn root(&self, schema: &'a Value) -> Place<'a> {
        Place { schema, base: "".into(), draft: LATEST }.at(schema)
    }

    fn collect(&mut self, place: &Place<'a>, depth: usize) {
        if depth > super::DEPTH_MAX {
            return;
        }
        match place.schema {
            Value::Array(list) => list.iter().for_each(|inner| self.collect(&place.at(inner), depth + 1)),
            Value::Object(keywords) => {
                self.by_uri.entry(place.base.to_string()).or_insert_with(|| place.clone());
                let anchors = ["$anchor", "$dynamicAnchor", "$id"].map(|word| (word, keywords.get(word).and_then(Value::as_str)));
                for (word, anchor) in anchors.into_iter().filter_map(|(word, anchor)| Some((word, anchor?))) {
                    let anchor = if word == "$id" { anchor.strip_prefix('#').unwrap_or_default() } else { anchor };
                    if !anchor.is_empty() {
                        self.by_uri.entry(format!("{}#{anchor}", place.base)).or_insert_with(|| place.clone());
                    }
                    *self.dynamic.entry(anchor).or_default() += usize::from(word == "$dynamicAnchor");
                }
                let data = ["const", "enum", "default", "examples", "example"];
                let inner = keywords.iter().filter(|(word, _)| !data.contains(&word.as_str()));
                inner.for_each(|(_, inner)| self.collect(&place.at(inner), depth + 1));
            }
            _ => {}
        }
    }

    pub(super) fn find(&self, keyword: &str, value: &Value, place: &Place<'a>) -> Result<Place<'a>, String> {
        let reference = value.as_str().ok_or_else(|| format!("{keyword} must be a string"))?;
        let outside = || format!("{keyword} to {reference}, which the schema does not hold");
        let target = join(&place.base, reference);
        let (document, fragment) = target.split_once('#').unwrap_or((&target, ""));
        let found = match fragment.starts_with('/') {
            true => self.by_uri.get(document).and_then(|start| walk(start, &unescaped(fragment))),
            false if fragment.is_empty() => self.by_uri.get(document).cloned(),
            false => self.by_uri.get(&target).cloned(),
        };
        let found = found.ok_or_else(outside)?;
        let anchor = found.schema.get("$dynamicAnchor").and_then(Value::as_str);
        let moves = keyword == "$dynamicRef" && anchor == Some(fragment) && self.dynamic.get(fragment).is_some_and(|count| *count > 1);
        if moves || keyword == "$recursiveRef" && found.schema.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            return Err(format!("{keyword} to {reference}, which depends on where it is read from"));
        }
        Ok(found)
    }
}

fn walk<'a>(start: &Place<'a>, pointer: &str) -> Option<Place<'a>> {
    pointer.split('/').skip(1).try_fold(start.clone(), |place, token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        let inner = match place.schema {
            Value::Array(list) => list.get(token.parse::<usize>().ok()?),
            other => other.get(&token),
        };
        Some(place.at(inner?))
    })
}

/// Percent signs undone.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        let (byte, tail) = if *first == b'%' { code.map_or((b'%', tail), |code| (code, &tail[2..])) } else { (*first, tail) };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A reference as seen from a base, as far as documents in one schema need it.
fn join(base: &str, reference: &str) -> String {
    let base = base.split('#').next().unwrap_or_default();
    let is_absolute = reference.find(':').is_some_and(|colon| !reference[..colon].contains(['/', '#', '?', '.']) && colon > 0);
    let joined = if is_absolute {
        reference.to_owned()
    } else if reference.starts_with('#') || reference.is_empty() {
        format!("{base}{reference}")
    } else if let Some(path) = reference.strip_prefix('/') {
        let host = base.find("://").map_or(0, |start| start + 3);
        let end = base[host..].find('/').map_or(base.len(), |slash| host + slash);
        format!("{}/{path}", &base[..end])
    } else {
        let folder = base.rfind('/').map_or("", |slash| &base[..=slash]);
        format!("{folder}{}", reference.trim_start_matches("./"))
    };
    joined.strip_suffix('#').unwrap_or(&joined).to_owned()
}
