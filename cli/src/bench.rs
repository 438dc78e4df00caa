//! `millrace bench engine`: prefill and decode speed of the engine by batch size, on a model folder or on random weights of a named
//! shape. A hash of the answers stands beside each figure: a change that makes the engine faster must leave it alone.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use engine::{Engine, ModelSource, Options, Prompt, Request, Sampling};
use serde_json::json;

use crate::args::ComputeFlags;

#[derive(Subcommand)]
pub enum Command {
    /// Tokens per second of the engine alone, by batch size.
    #[command(after_help = "Examples:
  millrace bench engine
  millrace bench engine /models/moonlight --dtype bf16 --batch 1,64
  millrace bench engine --shape v2-lite --layers 4 --batch 1,8,64,256 --prompt 512 --json")]
    Engine(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Model folder; default: the embedded millrace-nano.
    #[arg(conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Random weights in the sizes of a known model.
    #[arg(long, value_name = "NAME", value_parser = engine::SHAPES)]
    shape: Option<String>,
    /// Cut the shape to so many layers.
    #[arg(long, value_name = "N", requires = "shape")]
    layers: Option<usize>,
    /// Requests at once, one measurement for each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 64, 256])]
    batch: Vec<usize>,
    /// Tokens of each prompt.
    #[arg(long, value_name = "N", default_value_t = 64)]
    prompt: usize,
    /// Tokens of each answer, at least 2.
    #[arg(long, value_name = "N", default_value_t = 64)]
    answer: u32,
    /// Tokens computed in one step over all requests.
    #[arg(long, value_name = "N", default_value_t = Options::default().step_tokens_max)]
    step_tokens: usize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One line of the table. Decode is what a run of whole answers takes longer than one of single tokens.
struct Figure {
    batch: usize,
    prefill: Duration,
    whole: Duration,
    hash: u64,
}

pub fn run(command: Command) -> anyhow::Result<()> {
    let Command::Engine(args) = command;
    ensure!(args.answer >= 2 && args.prompt >= 1, "an answer has at least 2 tokens, a prompt at least 1");
    let Some(largest) = args.batch.iter().copied().max().filter(|_| !args.batch.contains(&0)) else {
        bail!("a batch has at least one request");
    };
    let options = Options {
        slots_max: largest,
        // A page more for each request: the last one is rarely full.
        cache_tokens: largest * (args.prompt + args.answer as usize + Options::default().page_tokens),
        step_tokens_max: args.step_tokens,
        ..args.compute.options(None)
    };
    let began = Instant::now();
    let mut engine = Engine::load(&args.source()?, &options)?;
    let load = began.elapsed();
    // The first batch pays for memory that nobody has touched yet.
    args.time(&mut engine, largest, 2, 0)?;

    let mut figures = Vec::new();
    if !args.json {
        let model = engine.model();
        println!("{}: {:.0} M parameters, {} on {}", args.name(), model.parameters as f64 / 1e6, model.dtype, model.device);
        println!("{:>6} {:>16} {:>15}  answers", "batch", "prefill tok/s", "decode tok/s");
    }
    for (round, batch) in args.batch.iter().copied().enumerate() {
        let round = 2 * round as u64 + 1;
        let (prefill, _) = args.time(&mut engine, batch, 1, round)?;
        let (whole, hash) = args.time(&mut engine, batch, args.answer, round + 1)?;
        let figure = Figure { batch, prefill, whole, hash };
        if !args.json {
            println!("{batch:>6} {:>16.0} {:>15.0}  {hash:016x}", figure.prefill_rate(&args), figure.decode_rate(&args));
        }
        figures.push(figure);
    }
    if args.json {
        println!("{}", args.report(&engine, load, &figures));
    }
    Ok(())
}

impl Args {
    fn source(&self) -> anyhow::Result<ModelSource> {
        match (&self.shape, &self.model) {
            (Some(shape), _) => engine::shape(shape, self.layers).context("there is no such shape"),
            (None, Some(folder)) => Ok(ModelSource::Directory(folder.clone())),
            (None, None) => Ok(crate::nano::SOURCE),
        }
    }

    fn name(&self) -> String {
        match (&self.shape, &self.model) {
            (Some(shape), _) => self.layers.map_or_else(|| shape.clone(), |layers| format!("{shape} with {layers} layers")),
            (None, Some(folder)) => folder.display().to_string(),
            (None, None) => crate::nano::NAME.to_owned(),
        }
    }

    /// Runs a batch of prompts that no other round has, and hashes the answers in the order of their ids.
    fn time(&self, engine: &mut Engine, batch: usize, answer: u32, round: u64) -> anyhow::Result<(Duration, u64)> {
        let vocabulary = engine.model().vocab_size as u64;
        for id in 0..batch as u64 {
            let prompt = (0..self.prompt as u64).map(|index| (mixed(round << 40 ^ id << 20 ^ index) % vocabulary) as u32);
            let request = Request {
                max_tokens: Some(answer),
                ignore_eos: true,
                sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
                ..Request::new(Prompt::Tokens(prompt.collect()))
            };
            engine.add(id, request).map_err(|refusal| anyhow::anyhow!("the engine refuses the measurement: {}", refusal.message))?;
        }
        let mut finished = Vec::with_capacity(batch);
        let began = Instant::now();
        while !engine.is_idle() {
            finished.extend(engine.step());
        }
        let took = began.elapsed();
        finished.sort_by_key(|finished| finished.id);
        let mut hash = DefaultHasher::new();
        for answer in finished {
            let completion = answer.outcome.map_err(|failure| anyhow::anyhow!("request {} failed: {failure:?}", answer.id))?;
            completion.token_ids.hash(&mut hash);
        }
        Ok((took, hash.finish()))
    }

    fn report(&self, engine: &Engine, load: Duration, figures: &[Figure]) -> serde_json::Value {
        let model = engine.model();
        let figure = |figure: &Figure| {
            json!({
                "batch": figure.batch, "prefill_tokens_per_s": figure.prefill_rate(self).round(),
                "decode_tokens_per_s": figure.decode_rate(self).round(), "answers": format!("{:016x}", figure.hash),
            })
        };
        json!({
            "model": self.name(), "parameters": model.parameters, "dtype": model.dtype, "device": model.device,
            "prompt_tokens": self.prompt, "answer_tokens": self.answer, "load_seconds": load.as_secs_f64(),
            "figures": figures.iter().map(figure).collect::<Vec<_>>(),
        })
    }
}

impl Figure {
    fn prefill_rate(&self, args: &Args) -> f64 {
        (self.batch * args.prompt) as f64 / self.prefill.as_secs_f64()
    }

    fn decode_rate(&self, args: &Args) -> f64 {
        let tokens = self.batch as f64 * f64::from(args.answer - 1);
        tokens / self.whole.saturating_sub(self.prefill).as_secs_f64()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): neighbouring numbers become unrelated ones.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
