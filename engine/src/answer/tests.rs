//! Sections, characters and stop strings, token by token, with a vocabulary of bytes.

use super::*;

fn tokenizer() -> Tokenizer {
    Tokenizer::parse(include_bytes!("../../tests/fixtures/tokenizer/tokenizer.json")).unwrap()
}

fn stops(stops: &[&str]) -> Vec<String> {
    stops.iter().map(|stop| (*stop).to_owned()).collect()
}

/// Feeds a text byte by byte, so that every character over one byte arrives in pieces.
fn feed(answer: &mut Answer, tokenizer: &Tokenizer, text: &str) -> bool {
    text.bytes().any(|byte| {
        let id = (0..256).find(|id| tokenizer.bytes(*id) == [byte]).unwrap();
        answer.push(id, tokenizer)
    })
}

fn chat(prompt: &str, tokenizer: &Tokenizer) -> Answer {
    Answer::chat(Vec::new(), ThinkTokens::of(tokenizer), prompt)
}

#[test]
fn text_never_holds_half_a_character() {
    let tokenizer = tokenizer();
    let mut answer = Answer::plain(Vec::new());
    for character in ["a", "é", "€", "😀", "中"] {
        for byte in character.bytes() {
            let id = (0..256).find(|id| tokenizer.bytes(*id) == [byte]).unwrap();
            assert!(!answer.text.contains('\u{fffd}'));
            answer.push(id, &tokenizer);
        }
        assert!(answer.text.ends_with(character));
    }
    assert_eq!(answer.finish(false).0, "aé€😀中");
}

#[test]
fn bytes_that_are_no_character_are_replaced_at_once_and_at_the_end() {
    let tokenizer = tokenizer();
    let id = |byte: u8| (0..256).find(|id| tokenizer.bytes(*id) == [byte]).unwrap();
    let mut answer = Answer::plain(Vec::new());
    answer.push(id(0xff), &tokenizer);
    assert_eq!(answer.text, "\u{fffd}");
    answer.push(id(0xe2), &tokenizer);
    assert_eq!(answer.text, "\u{fffd}");
    assert_eq!(answer.finish(false).0, "\u{fffd}\u{fffd}");
}

#[test]
fn a_stop_string_ends_the_text_where_it_begins() {
    let tokenizer = tokenizer();
    for (stop, text, expected) in [
        (&["END"][..], "the ENEND of it", "the EN"),
        (&["€€"], "1 €, 2 €€ 3", "1 €, 2 "),
        (&["xy", "wxyz"], "vwxyz", "vw"),
        (&["never"], "neve", "neve"),
    ] {
        let mut answer = Answer::plain(stops(stop));
        let stopped = feed(&mut answer, &tokenizer, text);
        assert_eq!(answer.finish(stopped).0, expected);
    }
}

#[test]
fn reasoning_runs_from_the_opened_prompt_to_the_closing_marker() {
    let tokenizer = tokenizer();
    let mut answer = chat("…<|assistant|><think>\n", &tokenizer);
    feed(&mut answer, &tokenizer, "The total is below.\n");
    answer.push(tokenizer.id(CLOSE).unwrap(), &tokenizer);
    feed(&mut answer, &tokenizer, "\n\n42");
    assert_eq!(answer.finish(false), ("42".to_owned(), Some("The total is below.".to_owned()), 21));
}

#[test]
fn a_model_may_open_reasoning_itself_but_only_first() {
    let tokenizer = tokenizer();
    let (open, close) = (tokenizer.id(OPEN).unwrap(), tokenizer.id(CLOSE).unwrap());
    let mut answer = chat("…<|assistant|>", &tokenizer);
    answer.push(open, &tokenizer);
    answer.push(close, &tokenizer);
    feed(&mut answer, &tokenizer, "a");
    answer.push(open, &tokenizer);
    assert_eq!(answer.finish(false), ("a<think>".to_owned(), Some(String::new()), 2));
}

#[test]
fn a_marker_spelled_in_several_tokens_is_found_too() {
    let tokenizer = tokenizer();
    let mut answer = Answer::chat(Vec::new(), ThinkTokens::default(), "<think>\n");
    feed(&mut answer, &tokenizer, "half < of</think>done");
    assert_eq!(answer.finish(false).0, "done");
}

#[test]
fn stop_strings_are_not_searched_in_reasoning() {
    let tokenizer = tokenizer();
    let mut answer = Answer::chat(stops(&["x"]), ThinkTokens::of(&tokenizer), "<think>\n");
    assert!(!feed(&mut answer, &tokenizer, "axb"));
    answer.push(tokenizer.id(CLOSE).unwrap(), &tokenizer);
    assert!(feed(&mut answer, &tokenizer, "yx"));
    assert_eq!(answer.finish(true), ("y".to_owned(), Some("axb".to_owned()), 4));
}

#[test]
fn an_answer_cut_off_in_reasoning_is_all_reasoning() {
    let tokenizer = tokenizer();
    let mut answer = chat("<think>\n", &tokenizer);
    feed(&mut answer, &tokenizer, "hm");
    assert_eq!(answer.finish(false), (String::new(), Some("hm".to_owned()), 2));
}
