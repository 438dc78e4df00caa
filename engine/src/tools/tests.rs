//! Both notations, as models write them and as they get them wrong.

use super::*;

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { name: name.to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn calls_are_read_in_the_notation_of_hermes() {
    let text = "Let me look.\n\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"b\": 1, \"a\": \"é\"}}\n</tool_call>\n<tool_call>\n{\"name\":\"ask\",\"arguments\":{}}\n</tool_call>";
    let expected = vec![call("find", r#"{"b":1,"a":"é"}"#), call("ask", "{}")];
    assert_eq!(read(text.to_owned()), ("Let me look.".to_owned(), expected));
}

#[test]
fn calls_are_read_in_both_notations_of_deepseek() {
    let text = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"a\": [1]}\n```<｜tool▁call▁end｜>\n\
        <｜tool▁call▁begin｜>function<｜tool▁sep｜>ask\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    assert_eq!(read(text.to_owned()), (String::new(), vec![call("find", r#"{"a": [1]}"#), call("ask", "{}")]));
    let later = "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    assert_eq!(read(later.to_owned()), ("Hm.".to_owned(), vec![call("find", r#"{"a": 1}"#)]));
}

#[test]
fn what_is_no_call_stays_text() {
    for text in ["no call", "<tool_call>\n{\"name\": \"find\"", "<tool_call>{}</tool_call>", "<｜tool▁calls▁begin｜>", ""] {
        assert_eq!(read(text.to_owned()), (text.to_owned(), Vec::new()));
    }
}
