//! `millrace batch make`: a folder of text documents becomes a batch file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use domain::limits::{CUSTOM_ID_BYTES_MAX, Limits};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// Folder with the documents (UTF-8 text, searched recursively; hidden files are left out).
    folder: PathBuf,
    /// File with the instruction that goes before each document, as the system message.
    #[arg(long, value_name = "FILE")]
    instruction: PathBuf,
    /// The batch file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Model to ask.
    #[arg(long, default_value = crate::nano::NAME)]
    model: String,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 512)]
    max_tokens: u32,
    /// 0 always picks the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let instruction = read_text(&args.instruction)?;
    let mut documents = Vec::new();
    collect(&args.folder, &mut documents)?;
    documents.sort();
    ensure!(!documents.is_empty(), "there is no document in `{}`", args.folder.display());
    let file = File::create(&args.output).with_context(|| format!("cannot write `{}`", args.output.display()))?;
    let mut output = BufWriter::new(file);
    for document in &documents {
        let line = line(&args, &instruction, document)?;
        writeln!(output, "{line}")?;
    }
    output.into_inner()?.sync_all()?;
    eprintln!("{} requests in {}", documents.len(), args.output.display());
    eprintln!("next: millrace run {0}   or   millrace batch submit {0}", args.output.display());
    Ok(())
}

fn line(args: &Args, instruction: &str, document: &Path) -> anyhow::Result<String> {
    let custom_id = document.strip_prefix(&args.folder).unwrap_or(document).to_string_lossy().into_owned();
    ensure!(custom_id.len() <= CUSTOM_ID_BYTES_MAX, "the path `{custom_id}` is longer than {CUSTOM_ID_BYTES_MAX} bytes");
    let text = read_text(document)?;
    let line = json!({
        "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions",
        "body": {
            "model": args.model, "max_tokens": args.max_tokens, "temperature": args.temperature,
            "messages": [{ "role": "system", "content": instruction }, { "role": "user", "content": text }],
        },
    })
    .to_string();
    let limit = Limits::default().line_bytes_max;
    ensure!(line.len() <= limit, "`{}` gives a line of {} bytes; the limit is {limit}", document.display(), line.len());
    Ok(line)
}

fn collect(folder: &Path, documents: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot open the folder `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link is followed to a file but not into a folder: links between folders may form circles.
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), documents)?;
        } else if entry.path().is_file() {
            documents.push(entry.path());
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("`{}` is not UTF-8 text", path.display()))?;
    Ok(text.trim().to_owned())
}
