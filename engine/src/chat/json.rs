//! JSON as Python's `json.dumps` writes it, which is what models were trained with.

use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// The filter `tojson` with the options that transformers gives it.
pub(super) fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (ascii, sorted): (Option<bool>, Option<bool>) = (options.get("ensure_ascii")?, options.get("sort_keys")?);
    options.assert_all_used()?;
    let [item, key] = separators
        .map_or(Ok([if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned)), TryInto::try_into)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "separators are two texts"))?;
    let mut value = serde_json::to_value(value).map_err(failed)?;
    if sorted == Some(true) {
        value.sort_all_objects();
    }
    let indent = indent.map(|width| " ".repeat(width.min(16)));
    let mut bytes = Vec::new();
    let python = Python { indent, item, key, ascii: ascii == Some(true), depth: 0, empty: true };
    value.serialize(&mut Serializer::with_formatter(&mut bytes, python)).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Python {
    indent: Option<String>,
    /// What stands between two items, and after a key.
    item: String,
    key: String,
    ascii: bool,
    depth: usize,
    /// Nothing has been written into the innermost array or object yet.
    empty: bool,
}

impl Python {
    fn open(&mut self, writer: &mut (impl Write + ?Sized), bracket: u8) -> io::Result<()> {
        self.depth += 1;
        self.empty = true;
        writer.write_all(&[bracket])
    }

    fn next(&mut self, writer: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.empty = false;
        self.break_line(writer)
    }

    fn close(&mut self, writer: &mut (impl Write + ?Sized), bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        if !self.empty {
            self.break_line(writer)?;
        }
        self.empty = false;
        writer.write_all(&[bracket])
    }

    fn break_line(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        match &self.indent {
            Some(indent) => writer.write_all(format!("\n{}", indent.repeat(self.depth)).as_bytes()),
            None => Ok(()),
        }
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }

    /// Both languages write the fewest digits that tell a number from its neighbours; Python has an exponent below 0.0001 and from 1e16.
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let scientific = format!("{value:e}");
        let exponent = scientific.split_once('e').and_then(|(digits, power)| Some((digits, power.parse::<i32>().ok()?)));
        match exponent {
            Some((digits, power)) if !(-4..16).contains(&power) => {
                write!(writer, "{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
            }
            _ => write!(writer, "{value:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
