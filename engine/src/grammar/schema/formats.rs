//! Formats of strings, narrowed to what every validator takes: the expressions of the library let in the 29th of February in any
//! year, leap seconds at any time, and names of hosts that are too long.

use serde_json::{Value, json};

/// A day that exists: the library sees to all but the 29th of February.
const DAY: &str = concat!(
    "^(?:[0-9]{4}-(?:0[13-9]|1[0-2]|02-(?:[01]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
);

/// No leap second, as few of them exist.
const SECOND: &str = "[0-9]{2}:[0-9]{2}:[0-5]";

/// Up to four labels of a host, without two hyphens in a row: those mark names in other scripts.
const HOST: &str = "[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,30}(?:\\.[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,30}){0,3}";

/// A path without anything that a URI, an IRI or a template could read in different ways.
const PATH: &str = "^/?[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*$";

const POINTER: &str = "(?:/(?:[^~/]|~[01])*)*";

/// What the library is told for a format, or None if the name says nothing about validity.
pub(super) fn rewritten(name: &str) -> Result<Option<Value>, String> {
    Ok(Some(match name {
        "duration" | "ipv4" | "ipv6" | "uuid" | "uri" => json!({ "format": name }),
        "iri" => json!({ "format": "uri" }),
        "date" => json!({ "format": "date", "pattern": DAY }),
        "time" => json!({ "format": "time", "pattern": format!("^{SECOND}") }),
        "date-time" => json!({ "format": "date-time", "allOf": [{ "pattern": DAY }, { "pattern": format!("[tT]{SECOND}") }] }),
        "hostname" | "idn-hostname" => json!({ "pattern": format!("^{HOST}$") }),
        "email" | "idn-email" => json!({ "format": "email", "pattern": format!("^[^@]{{1,64}}@{HOST}$") }),
        // An apostrophe is part of a URI, but not of a template.
        "uri-reference" | "iri-reference" | "uri-template" => {
            json!({ "anyOf": [{ "format": "uri", "pattern": "^[^']*$" }, { "pattern": PATH }] })
        }
        "json-pointer" => json!({ "pattern": format!("^{POINTER}$") }),
        "relative-json-pointer" => json!({ "pattern": format!("^(?:0|[1-9][0-9]{{0,3}})(?:#|{POINTER})$") }),
        "regex" => return Err("format regex".to_owned()),
        _ => return Ok(None),
    }))
}
