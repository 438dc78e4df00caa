//! Tool calls in the two notations that models of these families write, DeepSeek's and that of Hermes, which Qwen took over:
//! read out of an answer, and as grammars that make a model call. How definitions reach the model is its template's affair.

use serde_json::{Value, json};

use crate::grammar;
use crate::request::{Format, Refusal, ToolCall, ToolChoice, Tools};
use crate::tokenizer::Tokenizer;

const CALLS_BEGIN: &str = "<｜tool▁calls▁begin｜>";
const CALLS_END: &str = "<｜tool▁calls▁end｜>";
const CALL_BEGIN: &str = "<｜tool▁call▁begin｜>";
const CALL_END: &str = "<｜tool▁call▁end｜>";
const SEPARATOR: &str = "<｜tool▁sep｜>";
const HERMES_BEGIN: &str = "<tool_call>";
const HERMES_END: &str = "</tool_call>";

/// The text before the calls of an answer, and the calls. An answer without a well-formed call is all text.
pub(crate) fn read(text: String) -> (String, Vec<ToolCall>) {
    let (marker, calls) = match text.contains(CALLS_BEGIN) {
        true => (CALLS_BEGIN, between(&text, CALL_BEGIN, CALL_END).map(deepseek_call).collect::<Option<Vec<_>>>()),
        false => (HERMES_BEGIN, between(&text, HERMES_BEGIN, HERMES_END).map(hermes_call).collect()),
    };
    match (text.split_once(marker), calls) {
        (Some((before, _)), Some(calls)) if !calls.is_empty() => (before.trim_end().to_owned(), calls),
        _ => (text, Vec::new()),
    }
}

fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).map(move |rest| rest.split_once(end).map_or(rest, |(inside, _)| inside))
}

/// `function<sep>NAME`, then the arguments in a fenced block; later models write `NAME<sep>` and the bare arguments.
fn deepseek_call(text: &str) -> Option<ToolCall> {
    let (first, rest) = text.split_once(SEPARATOR)?;
    let (name, arguments) = match rest.split_once("```json") {
        Some((name, fenced)) => (name, fenced.trim().strip_suffix("```")?),
        None => (first, rest),
    };
    let arguments = arguments.trim();
    serde_json::from_str::<Value>(arguments).ok()?;
    Some(ToolCall { name: name.trim().to_owned(), arguments: arguments.to_owned() })
}

/// `{"name": …, "arguments": {…}}`
fn hermes_call(text: &str) -> Option<ToolCall> {
    let call: Value = serde_json::from_str(text.trim()).ok()?;
    let arguments = call.get("arguments").or(call.get("parameters"))?;
    Some(ToolCall { name: call.get("name")?.as_str()?.to_owned(), arguments: arguments.to_string() })
}

/// The format of one call of a tool that must be called; None where the model chooses.
pub(crate) fn format(tools: &Tools, tokenizer: &Tokenizer) -> Result<Option<Format>, Refusal> {
    let named = match &tools.choice {
        ToolChoice::Auto => return Ok(None),
        ToolChoice::Required => None,
        ToolChoice::Named(name) => Some(name.as_str()),
    };
    let functions = tools.definitions.iter().filter_map(|tool| tool.get("function"));
    let functions: Vec<&Value> = functions.filter(|function| named.is_none_or(|name| function["name"] == name)).collect();
    if functions.is_empty() {
        return Err(Refusal::invalid("tool_choice", "there is no such tool".to_owned()));
    }
    let deepseek = tokenizer.id(CALLS_BEGIN).is_some();
    let names: Vec<String> = (0..functions.len()).map(|index| format!("call{index}")).collect();
    let rules = functions.iter().enumerate().map(|(index, function)| rules(index, function, deepseek));
    Ok(Some(Format::Grammar(format!("start: {}\n{}", names.join(" | "), rules.collect::<String>()))))
}

fn rules(index: usize, function: &Value, deepseek: bool) -> String {
    let name = function["name"].as_str().unwrap_or_default();
    let (before, after) = match deepseek {
        true => (format!("{CALLS_BEGIN}{CALL_BEGIN}function{SEPARATOR}{name}\n```json\n"), format!("\n```{CALL_END}{CALLS_END}")),
        false => (format!("{HERMES_BEGIN}\n{{\"name\": {}, \"arguments\": ", Value::from(name)), format!("}}\n{HERMES_END}")),
    };
    let mut schema = function.get("parameters").filter(|schema| schema.is_object()).cloned().unwrap_or_else(|| json!({ "type": "object" }));
    grammar::json_options().apply_to(&mut schema);
    format!("call{index}: {} arguments{index} {}\narguments{index}: %json {schema}\n", Value::from(before), Value::from(after))
}

#[cfg(test)]
mod tests;
