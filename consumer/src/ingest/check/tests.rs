//! Lines of batch files, good and bad, and what the check says of them.

use super::*;

const GOOD: &str = r#"{"custom_id":"ID","method":"POST","url":"/v1/chat/completions","body":{"model":"nano","messages":[{"role":"user","content":"hi"}]}}"#;

fn line(custom_id: &str) -> String {
    GOOD.replace("ID", custom_id)
}

fn check(file: &str, limits: Limits) -> (Verdict, Vec<NewLine>) {
    let model = |name: &str| Model { name: name.into(), context_length: 512, bytes_per_token: 4.0, tokens_per_s: None, created_at: 0 };
    let models = ["nano", "other"].map(|name| (name.to_owned(), model(name))).into();
    let mut check = Check::new(Endpoint::ChatCompletions, limits, models);
    let mut good = Vec::new();
    file.as_bytes().chunks(7).for_each(|chunk| check.feed(chunk, &mut good));
    (check.finish(&mut good), good)
}

fn codes(file: &str, limits: Limits) -> Vec<(String, Option<u64>)> {
    match check(file, limits).0 {
        Verdict::Rejected(errors) => errors.into_iter().map(|error| (error.code, error.line)).collect(),
        good => panic!("{good:?}"),
    }
}

#[test]
fn good_lines_tell_where_their_bodies_stand_and_what_they_cost() {
    let file = format!("\u{feff}{}\r\n\n{}", line("a"), line("b"));
    let (verdict, good) = check(&file, Limits::default());
    assert_eq!(verdict, Verdict::Good { lines: 2, model: Some("nano".into()) });
    assert_eq!(good.iter().map(|line| (line.line, line.custom_id.as_str())).collect::<Vec<_>>(), [(1, "a"), (3, "b")]);
    for line in good {
        let body = &file.as_bytes()[line.body_offset as usize..][..line.body_bytes as usize];
        assert!(body.starts_with(br#"{"model":"nano""#) && body.ends_with(b"}]}"));
        assert_eq!(line.cost, 15 + 256);
    }
}

#[test]
fn several_answers_cost_their_tokens_and_the_prompt_once() {
    let three = |custom_id: &str, more: &str| line(custom_id).replace(r#""messages""#, &format!(r#"{more},"messages""#));
    let (_, good) = check(&[three("a", r#""n":3"#), three("b", r#""n":3,"max_tokens":9000"#)].join("\n"), Limits::default());
    let prompts = good.iter().map(|line| u64::from(line.body_bytes).div_ceil(4));
    // No answer is longer than the context.
    let expected: Vec<u64> = prompts.zip([3 * 256, 3 * 512]).map(|(prompt, answers)| prompt + answers).collect();
    assert_eq!(good.iter().map(|line| line.cost).collect::<Vec<_>>(), expected);
}

#[test]
fn every_faulty_line_is_named_with_its_code_and_number() {
    let file = [
        line("a"),
        "{".to_owned(),
        line("a"),
        line("c").replace("chat/completions", "completions"),
        line("d").replace("nano", "unknown"),
        line("e").replace("hi", &"x".repeat(300)),
        line("f").replace(r#"{"model""#, r#"{"stream":true,"model""#),
        line(""),
        line("h"),
    ]
    .join("\n");
    let limits = Limits { line_bytes_max: 256, ..Limits::default() };
    let expected = [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
        ("url_mismatch", 4),
        ("model_not_found", 5),
        ("line_too_long", 6),
        ("invalid_request", 7),
        ("invalid_custom_id", 8),
    ];
    assert_eq!(codes(&file, limits), expected.map(|(code, line)| (code.to_owned(), Some(line))));
}

#[test]
fn lines_after_a_fault_are_not_handed_on() {
    let (_, good) = check(&[line("a"), "{".to_owned(), line("b")].join("\n"), Limits::default());
    assert_eq!(good.len(), 1);
}

#[test]
fn a_file_without_requests_is_empty() {
    assert_eq!(codes("\n \r\n", Limits::default()), [("empty_file".to_owned(), None)]);
}

#[test]
fn a_file_with_too_many_requests_is_refused() {
    let file = (0..4).map(|n| line(&n.to_string())).collect::<Vec<_>>().join("\n");
    assert_eq!(codes(&file, Limits { lines_max: 2, ..Limits::default() }), [("too_many_tasks".to_owned(), None)]);
}

#[test]
fn errors_beyond_the_first_hundred_are_counted() {
    let errors = codes(&"{\n".repeat(250), Limits::default());
    assert_eq!(errors.len(), BATCH_ERRORS_MAX + 1);
    assert_eq!(errors[BATCH_ERRORS_MAX], ("too_many_errors".to_owned(), None));
}

#[test]
fn a_file_may_mix_models_and_then_has_no_common_one() {
    let file = [line("a"), line("b").replace("nano", "other")].join("\n");
    assert_eq!(check(&file, Limits::default()).0, Verdict::Good { lines: 2, model: None });
}
