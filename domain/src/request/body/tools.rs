//! Tools that a caller offers, and whether one must be called. What an answer's calls look like is `answer.rs`.

use serde_json::Value;

use crate::{error::ApiError, fields::Fields};

/// Functions the model may ask its caller to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// As they came: templates are trained on this form.
    pub definitions: Vec<Value>,
    pub choice: ToolChoice,
}

/// Whether a tool is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    #[default]
    Auto,
    Required,
    Named(String),
}

const TOOLS_MAX: usize = 128;

/// `tools` and `tool_choice`. With the choice `none` it is as if there were no tools.
pub(super) fn tools(fields: &mut Fields) -> Result<Tools, ApiError> {
    let definitions = match fields.take("tools") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= TOOLS_MAX => list,
        Some(_) => return Err(fields.wrong("tools", &format!("must be a list of at most {TOOLS_MAX} tools"))),
    };
    for (index, tool) in definitions.iter().enumerate() {
        check(index, tool)?;
    }
    let choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(Tools::default()),
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return Err(fields.wrong("tool_choice", "must be one of none, auto, required, or name a function")),
        },
        Some(value) => {
            let function = Fields::of(value, "tool_choice")?.take("function").unwrap_or(Value::Null);
            ToolChoice::Named(Fields::of(function, "tool_choice.function")?.required_string("name")?)
        }
    };
    let known = |name: &String| definitions.iter().any(|tool| tool["function"]["name"] == name.as_str());
    match &choice {
        ToolChoice::Required if definitions.is_empty() => Err(fields.wrong("tool_choice", "needs `tools`")),
        ToolChoice::Named(name) if !known(name) => {
            Err(ApiError::invalid_value("tool_choice", "`tool_choice` names no function of `tools`"))
        }
        _ => Ok(Tools { definitions, choice }),
    }
}

fn check(index: usize, tool: &Value) -> Result<(), ApiError> {
    let path = format!("tools[{index}]");
    let mut fields = Fields::of(tool.clone(), &path)?;
    if fields.required_string("type")? != "function" {
        return Err(ApiError::unsupported(fields.param("type"), "only tools of type `function` are supported"));
    }
    let function = fields.take("function").ok_or_else(|| ApiError::missing(fields.param("function")))?;
    Fields::of(function, &fields.param("function"))?.required_string("name").map(drop)
}

/// The calls of an earlier answer, as they came.
pub(super) fn calls(message: &mut Fields) -> Result<Option<Value>, ApiError> {
    let Some(calls) = message.take("tool_calls") else { return Ok(None) };
    let is_call = |call: &Value| call["function"]["name"].is_string() && call["function"]["arguments"].is_string();
    match calls.as_array() {
        Some(list) if list.is_empty() => Ok(None),
        Some(list) if list.iter().all(is_call) => Ok(Some(calls)),
        _ => Err(message.wrong("tool_calls", "must be a list of calls, each with `function.name` and `function.arguments` as strings")),
    }
}
