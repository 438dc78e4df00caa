//! The model's chat template. It comes with the model and never from a request; what it may consume is bounded.
//!
//! A template sees what transformers would give it, but no clock: `strftime_now` is not defined, and templates that want today's date fall
//! back on one of their own. So a request has the same prompt whenever and wherever it is run; `date_string` sets another date.

mod json;

use std::borrow::Cow;
use std::io::{self, Write};

use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat;
use serde_json::{Map, Value};

use crate::error::LoadError;
use crate::request::{Message, Refusal};

/// Template instructions one rendering may execute.
const FUEL: u64 = 2_000_000;

/// Bytes one rendering may produce.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// What a request may tell the template.
const ARGUMENTS: [&str; 3] = ["enable_thinking", "thinking", "date_string"];

const NAME: &str = "chat";

/// A compiled template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    /// Callers give the arguments of earlier calls as JSON text; some templates want them as objects.
    wants_arguments_as_objects: bool,
    /// A message that is nothing but calls has no content. Some templates ask for that; the others expect a text.
    knows_missing_content: bool,
}

impl ChatTemplate {
    pub(crate) fn parse(source: String, bos_token: String, eos_token: String) -> Result<ChatTemplate, LoadError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", json::tojson);
        let writes_json = ["arguments | tojson", "arguments|tojson"].iter().any(|part| source.contains(part));
        let wants_arguments_as_objects = writes_json && !source.contains("arguments is string");
        let single_quoted = source.replace('"', "'");
        let asks = ["'content'] is none", "'content'] is not none", ".content is none", ".content is not none"];
        let knows_missing_content = asks.iter().any(|part| single_quoted.contains(part));
        let compiled = environment.add_template_owned(NAME, source);
        compiled.map_err(|error| LoadError::malformed("chat_template", error))?;
        Ok(ChatTemplate { environment, bos_token, eos_token, wants_arguments_as_objects, knows_missing_content })
    }

    /// The prompt that these messages make, up to where the assistant speaks.
    pub(crate) fn render(&self, messages: &[Message], tools: &[Value], arguments: &Map<String, Value>) -> Result<String, Refusal> {
        if let Some(name) = arguments.keys().find(|name| !ARGUMENTS.contains(&name.as_str())) {
            let message = format!("{name:?} is not allowed; allowed are {}", ARGUMENTS.join(", "));
            return Err(Refusal::invalid("chat_template_kwargs", message));
        }
        let values = context! {
            messages => self.readable(messages),
            tools => (!tools.is_empty()).then_some(tools),
            add_generation_prompt => true,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
            ..minijinja::Value::from_serialize(arguments)
        };
        let mut output = Bounded(Vec::new());
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| template.render_captured_to(values, &mut output).map(drop));
        let text = rendered.map(|()| String::from_utf8_lossy(&output.0).into_owned());
        text.map_err(|error| Refusal::invalid("messages", format!("the chat template refuses the messages: {error}")))
    }
}

impl ChatTemplate {
    /// The messages in the form that this template reads.
    fn readable<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let mut readable = Cow::Borrowed(messages);
        if messages.iter().any(is_empty) {
            for message in readable.to_mut().iter_mut().filter(|message| is_empty(message)) {
                let missing = self.knows_missing_content && message.tool_calls.is_some();
                message.content = (!missing).then(String::new);
            }
        }
        if self.wants_arguments_as_objects && messages.iter().any(|message| message.tool_calls.is_some()) {
            let calls = readable.to_mut().iter_mut().filter_map(|message| message.tool_calls.as_mut()?.as_array_mut());
            for arguments in calls.flatten().filter_map(|call| call.pointer_mut("/function/arguments")) {
                if let Some(object) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
                    *arguments = object;
                }
            }
        }
        readable
    }
}

fn is_empty(message: &Message) -> bool {
    message.content.as_deref().is_none_or(str::is_empty)
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// Output up to the bound; the write that would pass it fails.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the rendered prompt is too long"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
