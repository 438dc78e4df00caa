//! Vocabularies that no training would make, and files that no model ships.

use serde_json::Value;

use super::*;
use crate::tokenizer::Tokenizer;

/// Every byte in order, then these lines.
fn file(lines: &[&str]) -> String {
    let bytes = (0..=255_u8).map(|byte| format!("{} {byte}\n", BASE64_STANDARD.encode([byte])));
    bytes.chain(lines.iter().map(|line| format!("{line}\n"))).collect()
}

fn added(tokens: &[(u32, &str)]) -> BTreeMap<u32, Added> {
    tokens.iter().map(|(id, content)| (*id, Added { content: (*content).to_owned(), special: true })).collect()
}

fn refusal(file: &str, tokens: &[(u32, &str)]) -> String {
    parse(file.as_bytes(), MOONSHOT, &added(tokens)).unwrap_err().to_string()
}

#[test]
fn words_that_merging_does_not_reach_have_the_ids_of_tiktoken() {
    let golden = include_str!("../../../tests/fixtures/text/golden.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    for case in golden["untrained"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let tokenizer = Tokenizer::parse_tiktoken(file.as_bytes(), MOONSHOT, &BTreeMap::new()).unwrap();
        for (text, ids) in case["texts"].as_array().unwrap().iter().zip(case["ids"].as_array().unwrap()) {
            let encoded = tokenizer.encode(text.as_str().unwrap()).unwrap();
            assert_eq!(serde_json::json!(encoded), *ids, "{text} in {file}");
        }
    }
}

#[test]
fn special_tokens_stand_above_the_ranks_and_those_between_have_names() {
    // YWI= is "ab".
    let file = file(&["YWI= 256"]);
    let tokenizer = Tokenizer::parse_tiktoken(file.as_bytes(), MOONSHOT, &added(&[(257, "[BOS]"), (260, "[EOS]")])).unwrap();
    assert_eq!(tokenizer.encode("[BOS]ab<|reserved_token_258|>[EOS]").unwrap(), [257, 256, 258, 260]);
    assert_eq!((tokenizer.len(), tokenizer.bytes(256), tokenizer.bytes(260)), (261, &b"ab"[..], &b"[EOS]"[..]));
    assert!(tokenizer.is_special(259) && !tokenizer.is_special(256));
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_line() {
    let long = format!("{} 256", BASE64_STANDARD.encode([b'a'; 513]));
    for (lines, reason) in [
        (&["YWI="][..], "line 257: not a token in base64, a space and a rank"),
        (&["\u{1} 2 3"], "line 257: the token is not in base64"),
        (&["YW= 256"], "line 257: the token is not in base64"),
        (&[" 256"], "line 257: the token has 0 bytes, not 1 to 512"),
        (&[&long], "line 257: the token has 513 bytes, not 1 to 512"),
        (&["YWI= -1"], "line 257: the rank is not a number"),
        (&["YWI= 99999999999999999999"], "line 257: the rank is not a number"),
        (&["", "YWI= 257"], "line 258: rank 257, but the ranks of 257 tokens begin at 0 and leave out none"),
        (&["YWI= 97"], "line 257: rank 97 stands on line 98 already"),
        (&["YQ== 256"], "lines 98 and 257 have the same token"),
    ] {
        let message = refusal(&file(lines), &[]);
        assert!(message.starts_with("tiktoken.model is malformed") && message.contains(reason), "{message}");
    }
    assert!(refusal("YQ== 0\n", &[]).contains("no token is the byte 0x00"));
    assert!(refusal("", &[]).contains("no token is the byte 0x00"));
}

#[test]
fn added_tokens_that_are_wrong_are_refused_with_their_id() {
    for (tokens, id) in [
        (&[(255, "[x]")][..], 255),
        (&[(9000, "[x]")], 9000),
        (&[(256, "[x]"), (258, "[x]")], 258),
        (&[(256, "")], 256),
        (&[(256, "a")], 256),
    ] {
        let message = refusal(&file(&[]), tokens);
        assert!(message.starts_with("tokenizer_config.json") && message.contains(&format!("added token {id} ")), "{message}");
    }
}
