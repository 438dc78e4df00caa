//! The engine: requests in, one step after another, answers out.

use std::sync::Arc;

use tracing::info;

use crate::backend::cpu::{Cache, Cpu, PackedFile, Writing};
use crate::batch::Batch;
use crate::config::{GenerationConfig, ModelConfig};
use crate::device;
use crate::draft::{DraftBatch, DraftCounts};
use crate::error::LoadError;
use crate::grammar::{Grammar, Grammars};
use crate::kv::{Known, Pages};
use crate::memory::Demand;
use crate::model::{Forward, Model};
use crate::options::{ModelSource, Options};
use crate::request::{Finished, Refusal, Request};
use crate::sample::{Logprobs, Sampler, Scratch, highest};
use crate::schedule::Schedule;
use crate::sequence::{Limits, Sequence};
use crate::text::Text;
use crate::tools;
use crate::weights::Weights;

/// A loaded model with its running batch. One thread owns it; no call awaits.
pub struct Engine {
    description: ModelDescription,
    text: Text,
    generation: GenerationConfig,
    /// Made when the first request asks for a format.
    grammars: Option<Grammars>,
    model: Box<dyn Forward>,
    schedule: Schedule,
    batch: Batch,
    drafts: DraftBatch,
    scratch: Scratch,
    /// Packed weights on their way to a file, at the first start.
    writing: Option<Writing>,
}

/// What was loaded and where it runs.
#[derive(Debug, Clone)]
pub struct ModelDescription {
    /// `model_type` of the configuration.
    pub architecture: String,
    pub parameters: u64,
    /// Prompt and answer together never exceed this many tokens.
    pub context_length: usize,
    pub vocab_size: usize,
    /// Bytes of business text one token stands for, measured on a sample.
    pub bytes_per_token: f32,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// Why this device, for the log.
    pub device_reason: String,
    /// `f32`, `bf16` or `int8`.
    pub dtype: &'static str,
}

impl Engine {
    /// Computes one batch and returns what ended with it.
    pub fn step(&mut self) -> Vec<Finished> {
        self.schedule.plan(&mut self.batch);
        if self.batch.is_empty() {
            return Vec::new();
        }
        let vocab_size = self.description.vocab_size;
        let logits = self.model.forward(&self.batch);
        let finished = self.schedule.commit(&self.batch, &mut self.drafts, |sequence, place| {
            sequence.advance(&logits[place * vocab_size..][..vocab_size], &self.text.tokenizer, &mut self.scratch)
        });
        if !self.drafts.is_empty() {
            let logits = self.model.draft(&self.drafts);
            self.schedule.note(&self.drafts, logits.chunks_exact(vocab_size).map(highest));
        }
        finished
    }

    /// Takes a request in; `id` is the caller's and comes back in [`Finished`].
    pub fn add(&mut self, id: u64, request: Request) -> Result<(), Refusal> {
        if self.schedule.room() == 0 {
            return Err(Refusal { code: "engine_full", param: None, message: "every slot is taken".to_owned() });
        }
        if self.schedule.contains(id) {
            return Err(Refusal::invalid("id", format!("request {id} is here already")));
        }
        let sequence = self.prepare(id, request)?;
        self.schedule.add(sequence);
        Ok(())
    }

    /// Drops a request; false if it is not here (any more).
    pub fn cancel(&mut self, id: u64) -> bool {
        self.schedule.cancel(id)
    }

    /// Gives back the requests that have not started, by their ids.
    pub fn withdraw(&mut self) -> Vec<u64> {
        self.schedule.withdraw()
    }

    /// How many more requests are taken in now. Those that do not fit yet wait inside, in an order of the engine's choice.
    pub fn room(&self) -> usize {
        self.schedule.room()
    }

    pub fn is_idle(&self) -> bool {
        self.schedule.is_idle()
    }

    /// Whether the books of the cache are in order: each page is free, remembered, or held by just those requests that know of it.
    pub fn is_balanced(&self) -> bool {
        self.schedule.is_balanced()
    }

    /// How often a running request has had to give way to an older one, to be computed again later.
    pub fn preemptions(&self) -> u64 {
        self.schedule.preemptions()
    }

    /// Waits until the packed weights are in their file, as dropping the engine would.
    pub fn settle(&mut self) {
        self.writing = None;
    }

    pub fn model(&self) -> &ModelDescription {
        &self.description
    }

    /// The drafts so far.
    pub fn drafts(&self) -> DraftCounts {
        self.schedule.draft_counts()
    }

    /// Loads a model, or says what is wrong with it.
    pub fn load(source: &ModelSource, options: &Options) -> Result<Engine, LoadError> {
        let device = device::choose(options.device)?;
        let config = ModelConfig::parse(&source.require("config.json")?)?;
        let text = Text::load(source)?;
        if text.tokenizer.len() > config.vocab_size {
            let reason = format!("has {} tokens, the model has {}", text.tokenizer.len(), config.vocab_size);
            return Err(LoadError::malformed("the vocabulary", reason));
        }
        let generation = source.read("generation_config.json")?;
        let generation = generation.map_or(Ok(GenerationConfig::default()), |bytes| GenerationConfig::parse(&bytes))?;
        let weights = Weights::open(source, config.fp8_block)?;
        let format = device::format(options.dtype, weights.fit_bf16());
        let options = &Options { draft_slots_max: draft_slots_max(&config, &weights, options), ..options.clone() };
        let cached_layers = config.layers + usize::from(options.draft_slots_max > 0);
        let demand = Demand {
            weights_bytes: weights.parameters() * format.bits() / 8,
            token_bytes: (cached_layers * Cache::token_bytes(format, &config.attention)) as u64,
            cache_tokens: options.cache_tokens,
            context_length: config.context_length,
        };
        let page_tokens = options.page_tokens.next_multiple_of(Cache::page_step(&config.attention));
        let pages = Pages::new(demand.tokens()?, page_tokens, options.prefix_cache);
        let context_length = config.context_length.min(pages.capacity());
        let packed = packed_file(source, options, &weights, format.name()).map(Arc::new);
        let backend = Cpu::new(options.threads).in_format(format).with_packed(packed.clone());
        let model = Model::load(backend, &config, &weights, pages.capacity(), context_length, options.draft_slots_max > 0)?;
        let description = ModelDescription {
            architecture: config.architecture.to_owned(),
            parameters: weights.parameters(),
            context_length,
            vocab_size: config.vocab_size,
            bytes_per_token: text.tokenizer.bytes_per_token(),
            device: device.device,
            device_reason: device.reason,
            dtype: format.name(),
        };
        info!(?description, "model loaded");
        Ok(Engine {
            description,
            text,
            generation: GenerationConfig { eos_token_ids: [config.eos_token_ids, generation.eos_token_ids].concat(), ..generation },
            grammars: None,
            model: Box::new(model),
            schedule: Schedule::new(pages, options),
            batch: Batch::default(),
            drafts: DraftBatch::default(),
            scratch: Scratch::default(),
            writing: packed.and_then(|packed| packed.save()),
        })
    }

    /// Checks a request and gives it the form in which it runs.
    fn prepare(&mut self, id: u64, request: Request) -> Result<Sequence, Refusal> {
        let sampler = Sampler::new(&request.sampling, &self.generation, id)?;
        if let Some((id, _)) = request.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= self.description.vocab_size) {
            return Err(Refusal::invalid("logit_bias", format!("token id {id} is not in the vocabulary")));
        }
        if request.stop.iter().any(String::is_empty) {
            return Err(Refusal::invalid("stop", "a stop string is empty".to_owned()));
        }
        let grammar = self.grammar(&request)?;
        let has_tools = !request.tools.definitions.is_empty();
        let (tokens, mut answer) =
            self.text.prepare(request.prompt, &request.tools.definitions, &request.template_arguments, request.stop)?;
        let eos: &[u32] = if request.ignore_eos { &[] } else { &self.generation.eos_token_ids };
        let limits = Limits {
            tokens_max: self.tokens_max(&tokens, request.max_tokens)?,
            tokens_min: request.min_tokens as usize,
            stop_ids: [eos, &request.stop_token_ids].concat(),
        };
        if request.reasoning_tokens_max.is_some_and(|max| !answer.limit_reasoning(max)) {
            return Err(Refusal::invalid("thinking_token_budget", "there is no reasoning here that a token could close".to_owned()));
        }
        let logprobs = request.logprobs.map(|top| Logprobs::new(usize::from(top), limits.tokens_max - tokens.len()));
        let prompt_logprobs = request.prompt_logprobs.map(|top| Logprobs::new(usize::from(top), tokens.len() - 1));
        Ok(Sequence {
            id,
            prompt_tokens: tokens.len(),
            tokens,
            computed: 0,
            pages: Vec::new(),
            draft: None,
            drafted: 0..0,
            known: Known::default(),
            cached: None,
            overtaken: 0,
            limits,
            sampler,
            answer,
            grammar,
            has_tools,
            logprobs,
            prompt_logprobs,
        })
    }

    /// The beginning of the format asked for; with one, nothing else may decide where the answer ends.
    fn grammar(&mut self, request: &Request) -> Result<Option<Grammar>, Refusal> {
        let call = tools::format(&request.tools, &self.text.tokenizer)?;
        if call.is_some() && request.format.is_some() {
            return Err(Refusal::invalid("tool_choice", "a tool that must be called leaves no room for another format".to_owned()));
        }
        let Some(format) = call.or(request.format.clone()) else { return Ok(None) };
        let other_ends = [
            ("stop", !request.stop.is_empty()),
            ("stop_token_ids", !request.stop_token_ids.is_empty()),
            ("min_tokens", request.min_tokens > 0),
            ("ignore_eos", request.ignore_eos),
        ];
        if let Some((param, _)) = other_ends.into_iter().find(|(_, asked)| *asked) {
            return Err(Refusal::invalid(
                param,
                format!("{param} cannot be combined with a format, which decides itself where the answer ends"),
            ));
        }
        let grammars = match self.grammars.take() {
            Some(grammars) => grammars,
            None => Grammars::new(&self.text.tokenizer, &self.generation.eos_token_ids)?,
        };
        self.grammars.insert(grammars).begin(format).map(Some)
    }

    /// Where prompt and answer together must end.
    fn tokens_max(&self, prompt: &[u32], answer_max: Option<u32>) -> Result<usize, Refusal> {
        let context = self.description.context_length;
        let unknown = |id: &&u32| **id as usize >= self.description.vocab_size;
        if let Some(id) = prompt.iter().find(unknown) {
            return Err(Refusal::invalid("prompt", format!("token id {id} is not in the vocabulary")));
        }
        if prompt.is_empty() {
            return Err(Refusal::invalid("prompt", "the prompt is empty".to_owned()));
        }
        if answer_max == Some(0) {
            return Err(Refusal::invalid("max_tokens", "max_tokens is 0".to_owned()));
        }
        let wanted = prompt.len().saturating_add(answer_max.unwrap_or(1) as usize);
        if wanted > context {
            return Err(Refusal {
                code: "context_length_exceeded",
                param: None,
                message: format!("the context length is {context} tokens, the request needs {wanted} ({} in the prompt)", prompt.len()),
            });
        }
        Ok(if answer_max.is_some() { wanted } else { context })
    }
}

/// The drafts asked for, if the layer that makes them is there. It may be missing: drafts change no answer.
fn draft_slots_max(config: &ModelConfig, weights: &Weights, options: &Options) -> usize {
    if config.mtp_layers == 0 {
        return 0;
    }
    if !weights.has(&format!("model.layers.{}.eh_proj.", config.layers)) {
        info!("config.json announces a multi-token prediction layer that the weights do not have");
        return 0;
    }
    options.draft_slots_max
}

/// Where packed weights are kept, if they are to be.
fn packed_file(source: &ModelSource, options: &Options, weights: &Weights, format: &str) -> Option<PackedFile> {
    let (ModelSource::Directory(model), Some(folder)) = (source, &options.packed_cache) else { return None };
    Some(PackedFile::open(folder, model, &weights.identity(source)?, format))
}
