//! The model's chat template. It comes with the model and never from a request; what it may consume is bounded.

use std::borrow::Cow;
use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value};

use crate::error::LoadError;
use crate::request::{Message, Refusal};

/// Template instructions one rendering may execute.
const FUEL: u64 = 2_000_000;

/// Bytes one rendering may produce.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Template switches that a request may set.
const ARGUMENTS: [&str; 2] = ["enable_thinking", "thinking"];

const NAME: &str = "chat";

/// A compiled template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    wants_arguments_as_objects: bool,
}

impl ChatTemplate {
    pub(crate) fn parse(source: String, bos_token: String, eos_token: String) -> Result<ChatTemplate, LoadError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        let writes_json = ["arguments | tojson", "arguments|tojson"].iter().any(|part| source.contains(part));
        let wants_arguments_as_objects = writes_json && !source.contains("arguments is string");
        let compiled = environment.add_template_owned(NAME, source);
        compiled.map_err(|error| LoadError::malformed("chat_template", error))?;
        Ok(ChatTemplate { environment, bos_token, eos_token, wants_arguments_as_objects })
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
    /// Callers give the arguments of earlier calls as JSON text; some templates want them as objects.
    fn readable<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        if !self.wants_arguments_as_objects {
            return Cow::Borrowed(messages);
        }
        let mut messages = messages.to_vec();
        for call in messages.iter_mut().filter_map(|message| message.tool_calls.as_mut()?.as_array_mut()).flatten() {
            if let Some(arguments) = call.pointer_mut("/function/arguments")
                && let Some(object) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok())
            {
                *arguments = object;
            }
        }
        Cow::Owned(messages)
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// JSON as Python writes it, which is what templates were trained with.
fn tojson(value: minijinja::Value, options: Kwargs) -> Result<String, Error> {
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    // `ensure_ascii=False` is how we write anyway.
    let _ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)),
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        }
    }
    .map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line, with a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
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
