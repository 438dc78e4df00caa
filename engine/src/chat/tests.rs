//! Templates as models write them, and templates that mean harm.

use serde_json::json;

use super::*;

fn render(template: &str, messages: &[(&str, &str)]) -> Result<String, Refusal> {
    let template = ChatTemplate::parse(template.to_owned(), "<s>".to_owned(), "</s>".to_owned()).unwrap();
    let message =
        |(role, content): &(&str, &str)| Message { role: (*role).to_owned(), content: Some((*content).to_owned()), ..Message::default() };
    template.render(&messages.iter().map(message).collect::<Vec<_>>(), &[], &Map::new())
}

#[test]
fn the_python_that_templates_use_works() {
    let template = "{{ bos_token }}{% set ns = namespace(first=true) %}{% for m in messages %}\
        {% if m['role'] == 'assistant' and m['content'] is not none %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{{ eos_token }}\
        {% elif m.role == 'user' %}[{{ loop.index0 }}:{{ m['content'].strip() }}]{% endif %}{% endfor %}\
        {% if add_generation_prompt and ns.first and tools is none %}>{% endif %}";
    let rendered = render(template, &[("user", " hi "), ("assistant", "<think>a</think>\n\nb"), ("user", "c")]);
    assert_eq!(rendered.unwrap(), "<s>[0:hi]b</s>[2:c]>");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let template = "{{ messages[0] | tojson }}";
    assert_eq!(render(template, &[("user", "<a & 'b'> é")]).unwrap(), r#"{"role": "user", "content": "<a & 'b'> é"}"#);
}

#[test]
fn what_a_template_raises_reaches_the_caller() {
    let refusal = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
    assert!(refusal.message.contains("roles must alternate"), "{}", refusal.message);
    assert_eq!(refusal.param, Some("messages"));
}

#[test]
fn a_template_that_runs_or_writes_without_end_is_stopped() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(render(endless, &[]).is_err());
    let long = "x".repeat(2 << 20);
    assert!(render("{% for i in range(100) %}{{ messages[0].content }}{% endfor %}", &[("user", &long)]).is_err());
}

#[test]
fn switches_reach_the_template_if_they_are_on_the_list() {
    let template = ChatTemplate::parse("{{ thinking }}".to_owned(), String::new(), String::new()).unwrap();
    let arguments = |name: &str| Map::from_iter([(name.to_owned(), json!(true))]);
    assert_eq!(template.render(&[], &[], &arguments("thinking")).unwrap(), "True");
    assert!(template.render(&[], &[], &arguments("messages")).is_err());
}

#[test]
fn a_template_has_no_clock_and_may_be_told_the_date() {
    let source = "{% if date_string is defined %}{{ date_string }}{% elif strftime_now is defined %}now{% else %}26 Jul 2024{% endif %}";
    let template = ChatTemplate::parse(source.to_owned(), String::new(), String::new()).unwrap();
    let date = Map::from_iter([("date_string".to_owned(), json!("02 Jan 2026"))]);
    assert_eq!(template.render(&[], &[], &Map::new()).unwrap(), "26 Jul 2024");
    assert_eq!(template.render(&[], &[], &date).unwrap(), "02 Jan 2026");
}

#[test]
fn a_template_sees_the_keys_of_a_tool_in_the_order_in_which_they_came() {
    let template = ChatTemplate::parse("{{ tools[0] | tojson }}".to_owned(), String::new(), String::new()).unwrap();
    let tool = serde_json::from_str(r#"{"type": "f", "function": {"z": 1, "a": 2}}"#).unwrap();
    assert_eq!(template.render(&[], &[tool], &Map::new()).unwrap(), r#"{"type": "f", "function": {"z": 1, "a": 2}}"#);
}

#[test]
fn a_message_of_nothing_but_calls_has_the_content_that_the_template_expects() {
    let message =
        |content: Option<&str>| Message { content: content.map(str::to_owned), tool_calls: Some(json!([])), ..Message::default() };
    for (template, expected) in [
        ("{% if messages[0]['content'] is none %}calls{% endif %}", "calls"),
        ("{% set message = messages[0] %}{% if message.content is not none %}text{% else %}calls{% endif %}", "calls"),
        ("{% set reasoning = messages[0].reasoning_content is not none %}[{{ messages[0].content + '' }}]", "[]"),
    ] {
        let template = ChatTemplate::parse(template.to_owned(), String::new(), String::new()).unwrap();
        for content in [None, Some("")] {
            assert_eq!(template.render(&[message(content)], &[], &Map::new()).unwrap(), expected);
        }
    }
}

#[test]
fn a_broken_template_is_refused_at_load() {
    assert!(ChatTemplate::parse("{% if %}".to_owned(), String::new(), String::new()).is_err());
}
