//! What grammars allow and refuse, with a vocabulary of bytes and a few specials.

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
fn json_has_spaces_within_bounds_and_no_text_around_it() {
    assert_eq!(after(Format::JsonObject, r#"{"a": [1, {}], "b":null}"#), None);
    let start = after(Format::JsonObject, "").unwrap();
    assert!(texts(&start).iter().all(|text| text.starts_with('{')), "{start:?}");
    let spaced = after(Format::JsonObject, r#"{"a": "#).unwrap();
    assert!(!texts(&spaced).iter().any(|text| text.starts_with(' ')));
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
    assert!(schema(json!({ "not": { "type": "string" } })).contains("not"));
    assert!(schema(json!({ "oneOf": [{ "minimum": 1 }, { "maximum": 3 }] })).contains("oneOf"));
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
