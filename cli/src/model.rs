//! `millrace model`: what is in a model folder, and whether it would run here.

use std::path::PathBuf;

use clap::Subcommand;
use engine::{Engine, ModelSource};
use serde_json::json;

#[derive(Subcommand)]
pub enum Command {
    /// Load a model and describe it. Refuses what `consume` would refuse, with the same words.
    #[command(after_help = "Examples:\n  millrace model inspect\n  millrace model inspect /models/moonlight --json")]
    Inspect {
        /// Model folder; default: the embedded millrace-nano.
        model: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: Command) -> anyhow::Result<()> {
    let Command::Inspect { model, json } = command;
    let name = crate::args::served_name(model.as_deref())?;
    let source = model.map_or(crate::nano::SOURCE, ModelSource::Directory);
    let engine = Engine::load(&source, &engine::Options::default())?;
    let model = engine.model();
    if json {
        let description = json!({
            "name": name, "architecture": model.architecture, "parameters": model.parameters, "context_length": model.context_length,
            "vocab_size": model.vocab_size, "device": model.device, "device_reason": model.device_reason, "dtype": model.dtype,
        });
        println!("{description}");
    } else {
        println!("{name}: {}, {:.2} M parameters", model.architecture, model.parameters as f64 / 1e6);
        println!("context {} tokens, vocabulary {}", model.context_length, model.vocab_size);
        println!("runs on {} in {} ({})", model.device, model.dtype, model.device_reason);
    }
    Ok(())
}
