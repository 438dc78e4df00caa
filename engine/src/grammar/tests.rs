//! What grammars allow and refuse, with a vocabulary of bytes and a few specials.

use serde_json::{Map, Value, json};

use super::*;

const END: u32 = 283;

fn tokenizer() -> Tokenizer {
    Tokenizer::parse(include_bytes!("../../tests/fixtures/tokenizer/tokenizer.json")).unwrap()
}

fn grammars() -> Grammars {
    Grammars::new(&tokenizer(), &[END]).unwrap()
}

fn refusal(format: Format) -> String {
    let refusal = grammars().begin(format).err().unwrap();
    assert_eq!((refusal.code, refusal.param), ("invalid_value", Some("response_format")));
    refusal.message
}

/// Writes a text byte by byte; what may follow it, or None if the answer is complete.
fn after(format: Format, text: &str) -> Option<Vec<u32>> {
    let tokenizer = tokenizer();
    let mut grammar = grammars().begin(format).unwrap();
    for (place, byte) in text.bytes().enumerate() {
        let id = (0..256).find(|id| tokenizer.bytes(*id) == [byte]).unwrap();
        assert!(grammar.allowed().unwrap().is_allowed(id), "{:?} is not allowed after {:?}", byte as char, &text[..place]);
        if grammar.take(id).unwrap() {
            assert_eq!(place + 1, text.len(), "complete after {:?}", &text[..=place]);
            return None;
        }
    }
    Some(grammar.allowed().unwrap().to_list())
}

fn texts(ids: &[u32]) -> Vec<String> {
    let tokenizer = tokenizer();
    ids.iter().map(|id| String::from_utf8_lossy(tokenizer.bytes(*id)).into_owned()).collect()
}

#[test]
fn a_choice_ends_with_its_last_character_where_no_other_goes_on() {
    let choice = || Format::Choice(vec!["yes".to_owned(), "no\"".to_owned(), "no\"ne".to_owned()]);
    assert_eq!(after(choice(), "yes"), None);
    assert_eq!(after(choice(), "no\"ne"), None);
    let open = after(choice(), "no\"").unwrap();
    assert!(open.contains(&END) && texts(&open).contains(&"n".to_owned()), "{open:?}");
}

#[test]
fn an_expression_bounds_every_character() {
    assert_eq!(after(Format::Regex("[A-Z]{2}[0-9]{3}".to_owned()), "AB123"), None);
    let next = after(Format::Regex("[A-Z]{2}[0-9]{3}".to_owned()), "AB1").unwrap();
    assert!(texts(&next).iter().all(|text| text.bytes().all(|byte| byte.is_ascii_digit())), "{next:?}");
}

#[test]
fn json_has_neither_spaces_between_its_parts_nor_text_around_it() {
    assert_eq!(after(Format::JsonObject, r#"{"a":[1,{}],"b":"c d"}"#), None);
    let start = after(Format::JsonObject, "").unwrap();
    assert!(texts(&start).iter().all(|text| text.starts_with('{')), "{start:?}");
    let value = after(Format::JsonObject, r#"{"a":"#).unwrap();
    assert!(!texts(&value).iter().any(|text| text.starts_with([' ', '\n'])));
}

#[test]
fn special_tokens_are_no_text_of_a_json_string() {
    let inside = after(Format::JsonObject, r#"{"a":""#).unwrap();
    let tokenizer = tokenizer();
    assert!(inside.iter().all(|id| !tokenizer.is_special(*id)));
}

#[test]
fn what_is_not_supported_is_named() {
    let schema = |schema| refusal(Format::JsonSchema(schema));
    assert!(schema(json!({ "type": "array", "uniqueItems": true })).contains("uniqueItems"));
    assert!(schema(json!({ "not": { "contains": { "type": "string" } } })).contains("not with contains"));
    assert!(schema(json!({ "const": "\u{0}" })).contains("const with a control character"));
    assert!(schema(json!({ "format": "regex" })).contains("format regex"));
    assert!(schema(json!({ "$ref": "https://example.com/schema" })).contains("https://example.com/schema"));
    assert!(refusal(Format::Regex("(".to_owned())).contains("regex"));
    assert!(refusal(Format::Choice(Vec::new())).contains("empty"));
}

#[test]
fn a_schema_cannot_bring_options_for_the_library() {
    let schema = json!({ "x-guidance": { "lenient": true }, "type": "array", "uniqueItems": true });
    assert!(refusal(Format::JsonSchema(schema)).contains("uniqueItems"));
}

#[test]
fn a_grammar_used_before_starts_again_at_its_beginning() {
    let mut grammars = grammars();
    let mut starts = (0..2).map(|_| {
        let mut grammar = grammars.begin(Format::Choice(vec!["ab".to_owned()])).unwrap();
        let start = grammar.allowed().unwrap().to_list();
        grammar.take(start[0]).unwrap();
        start
    });
    assert_eq!(starts.next(), starts.next());
}

#[test]
fn whoever_waits_for_a_thread_that_dies_hears_of_it() {
    let mut grammars = grammars();
    grammars.begin(Format::JsonObject).unwrap();
    let (masks, work) = sync_channel(1);
    let mut grammar = Grammar::at(grammars.compiled[0].1.clone(), masks).unwrap();
    drop(work);
    assert_eq!(grammar.allowed().unwrap_err(), "the grammar thread has ended");
}

#[test]
fn a_schema_takes_what_is_valid_and_refuses_what_is_not() {
    let keywords = [
        (json!({ "not": { "type": "string" } }), "5", r#""a""#),
        (json!({ "oneOf": [{ "type": "integer", "minimum": 1 }, { "type": "integer", "maximum": 3 }] }), "7", "2"),
        (json!({ "if": { "type": "integer" }, "then": { "minimum": 5 }, "else": { "type": "null" } }), "null", "2"),
        (json!({ "type": "object", "dependentRequired": { "a": ["b"] } }), r#"{"b":1}"#, r#"{"a":1}"#),
        (json!({ "type": "object", "dependentSchemas": { "a": { "maxProperties": 1 } } }), r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
        (json!({ "type": "array", "contains": { "type": "null" } }), "[null,1]", "[1]"),
        (json!({ "type": "object", "propertyNames": { "pattern": "^x" } }), r#"{"xy":1}"#, r#"{"y":1}"#),
        (json!({ "type": "array", "items": { "enum": [1, 2] }, "uniqueItems": true }), "[1,2]", "[1,1]"),
        (
            json!({ "anyOf": [{ "type": "object", "properties": { "a": true } }], "unevaluatedProperties": false }),
            r#"{"a":1}"#,
            r#"{"b":1}"#,
        ),
        (json!({ "type": "array", "allOf": [{ "prefixItems": [true] }], "unevaluatedItems": false }), "[1]", "[1,2]"),
        (json!({ "multipleOf": 1.5 }), "4.5", "4"),
    ];
    keywords.into_iter().for_each(|(schema, valid, invalid)| check(schema, valid, invalid));
}

#[test]
fn a_reference_is_followed_by_pointer_by_anchor_and_by_identifier() {
    for reference in ["#/$defs/whole%20number", "#whole", "https://example.com/whole"] {
        let mut whole = json!({ "type": "integer" });
        match reference {
            "#whole" => whole["$anchor"] = json!("whole"),
            "#/$defs/whole%20number" => {}
            other => whole["$id"] = json!(other),
        }
        check(json!({ "$ref": reference, "$defs": { "whole number": whole } }), "1", r#""a""#);
    }
}

#[test]
fn formats_name_days_seconds_and_hosts_that_exist() {
    let formats = [
        ("date", r#""2024-02-29""#, r#""2023-02-29""#),
        ("date-time", r#""2024-02-29T10:20:30Z""#, r#""1900-02-29T10:20:30Z""#),
        ("time", r#""10:20:30Z""#, r#""10:20:60Z""#),
        ("hostname", r#""a-b.example""#, r#""ab--c.example""#),
        ("email", r#""a@b.example""#, r#""a@b-.example""#),
        ("uri-reference", r#""/a/b""#, r#""a b""#),
        ("json-pointer", r#""/a~1b""#, r#""/a~2""#),
    ];
    formats.into_iter().for_each(|(format, valid, invalid)| check(json!({ "type": "string", "format": format }), valid, invalid));
}

#[test]
fn an_older_draft_is_read_as_it_was_meant() {
    let draft_7 = "http://json-schema.org/draft-07/schema#";
    check(json!({ "$schema": draft_7, "type": "array", "items": [{ "type": "null" }], "additionalItems": false }), "[null]", "[1]");
    check(json!({ "$schema": draft_7, "type": "object", "dependencies": { "a": ["b"] } }), r#"{"b":1}"#, r#"{"a":1}"#);
    check(
        json!({ "$schema": draft_7, "$ref": "#/definitions/a", "minimum": 9, "definitions": { "a": { "type": "integer" } } }),
        "1",
        "null",
    );
}

#[test]
fn a_property_that_a_schema_speaks_of_cannot_be_written_under_another_spelling() {
    check(json!({ "type": "object", "properties": { "a": { "type": "integer" } } }), r#"{"b":"x"}"#, r#"{"\u0061":"x"}"#);
}

#[test]
fn a_schema_that_grows_beyond_bounds_is_refused() {
    let deep = (0..200).fold(json!({ "type": "null" }), |inner, _| json!({ "items": inner }));
    assert!(refusal(Format::JsonSchema(deep)).contains("grows beyond"));
    let overlapping: Vec<Value> = (0..9).map(|least| json!({ "type": "integer", "minimum": least })).collect();
    assert!(refusal(Format::JsonSchema(json!({ "oneOf": overlapping }))).contains("oneOf"));
}

#[test]
fn a_short_schema_that_would_take_forever_is_refused() {
    // Each definition speaks of the next one twice: what all of them say is 2^40 long.
    let twice = |keyword: &str, last: Value| {
        let next = |level: usize| json!({ "$ref": format!("#/$defs/{}", level + 1) });
        let mut definitions: Map<String, Value> =
            (0..40).map(|level| (level.to_string(), json!({ keyword: [next(level), next(level)] }))).collect();
        definitions.insert("40".to_owned(), last);
        definitions
    };
    let first = json!({ "$ref": "#/$defs/0" });
    let many: Vec<Value> = (0..2_000).map(|value| json!({ "const": value })).collect();
    let all_values: Vec<Value> = (0..500).map(|_| json!({ "enum": (0..500).collect::<Vec<_>>() })).collect();
    let nested = |wrap: fn(Value) -> Value| (0..40).fold(json!({ "type": "null" }), |inner, _| wrap(inner));
    let hostile = [
        json!({ "not": first, "$defs": twice("allOf", json!({ "const": 1 })) }),
        json!({ "propertyNames": first, "$defs": twice("allOf", json!({ "enum": ["a", "b"] })) }),
        json!({ "oneOf": [first, { "type": "object" }], "$defs": twice("allOf", json!({ "type": "object" })) }),
        json!({ "unevaluatedProperties": false, "$ref": "#/$defs/0", "$defs": twice("allOf", json!({ "properties": { "a": true } })) }),
        nested(|inner| json!({ "contains": inner, "minContains": 100 })),
        nested(|inner| json!({ "anyOf": [inner, true], "unevaluatedItems": false })),
        json!({ "oneOf": many }),
        json!({ "oneOf": all_values }),
    ];
    for schema in hostile {
        let reason = refusal(Format::JsonSchema(schema));
        assert!(reason.contains("grows beyond"), "{reason}");
    }
}

fn check(schema: Value, valid: &str, invalid: &str) {
    let format = || Format::JsonSchema(schema.clone());
    assert!(is_taken(format(), valid), "{valid} is refused under {schema}");
    assert!(!is_taken(format(), invalid), "{invalid} is taken under {schema}");
}

/// Whether a text is a whole answer in this format.
fn is_taken(format: Format, text: &str) -> bool {
    let tokenizer = tokenizer();
    let mut grammar = grammars().begin(format).unwrap();
    for (place, byte) in text.bytes().enumerate() {
        let id = (0..256).find(|id| tokenizer.bytes(*id) == [byte]).unwrap();
        if !grammar.allowed().unwrap().is_allowed(id) {
            return false;
        }
        if grammar.take(id).unwrap() {
            return place + 1 == text.len();
        }
    }
    grammar.allowed().unwrap().is_allowed(END)
}
