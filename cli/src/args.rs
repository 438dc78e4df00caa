//! Flags that several commands share, and the settings that follow from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use backing::Config;
use clap::{Args, ValueEnum};
use consumer::{EngineSettings, WebhookSettings};
use domain::limits::Limits;
use engine::{ModelSource, Options};
use ipnet::IpNet;

/// Where the backing services are.
#[derive(Args, Clone)]
pub struct Services {
    /// `postgres://…`, or `sqlite:PATH`.
    #[arg(long, env = "MILLRACE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,
    /// `amqp://…` or `amqps://…`.
    #[arg(long, env = "MILLRACE_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub amqp_url: String,
    /// `s3://bucket/prefix?endpoint=…`, or `file:///PATH`. Credentials come from the usual AWS variables.
    #[arg(long, env = "MILLRACE_OBJECTS_URL", hide_env_values = true, value_name = "URL")]
    pub objects_url: String,
    /// What queue names start with: set it where several installations share a broker.
    #[arg(long, env = "MILLRACE_QUEUE_PREFIX", default_value = "millrace", value_name = "NAME")]
    pub queue_prefix: String,
}

impl Services {
    /// The same as the backing crate wants it.
    pub fn config(&self) -> Config {
        Config {
            database_url: self.database_url.clone(),
            amqp_url: self.amqp_url.clone(),
            objects_url: self.objects_url.clone(),
            durable: true,
            queue_prefix: self.queue_prefix.clone(),
        }
    }
}

/// The database alone: a URL, or the state folder of `serve`.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Database {
    /// `postgres://…`, or `sqlite:PATH`.
    #[arg(long, env = "MILLRACE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// State folder of an embedded server.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Database {
    /// Opens it and brings it to this version.
    pub async fn open(&self) -> anyhow::Result<backing::store::Store> {
        let url = match (&self.database_url, &self.state) {
            (Some(url), _) => url.clone(),
            (None, Some(state)) => {
                std::fs::create_dir_all(state).with_context(|| format!("cannot create `{}`", state.display()))?;
                Config::embedded(state).database_url
            }
            (None, None) => bail!("either --database-url or --state is needed"),
        };
        let store = backing::store::Store::open(&url).await?;
        store.migrate().await?;
        Ok(store)
    }
}

/// Which model is run, and how.
#[derive(Args, Clone)]
pub struct ModelFlags {
    /// Model folder in Hugging Face's layout; its name is the served name. Default: the embedded millrace-nano.
    #[arg(long, env = "MILLRACE_MODEL", value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// `native` runs the model; `null` answers a fixed text, for load tests.
    #[arg(long, value_enum, default_value_t = EngineChoice::Native)]
    pub engine: EngineChoice,
    /// Tokens per second and worker of `--engine null`; without it, it answers at once.
    #[arg(long, value_name = "N")]
    pub null_tokens_per_s: Option<f32>,
    #[command(flatten)]
    pub compute: ComputeFlags,
    /// Requests that run at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub slots: u32,
    /// Tokens that the cache holds over all requests; fewer where memory is short.
    #[arg(long, value_name = "N", default_value_t = Options::default().cache_tokens)]
    cache_tokens: usize,
}

/// What the engine computes with.
#[derive(Args, Clone)]
pub struct ComputeFlags {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Number format of weights and arithmetic; auto: bf16 for weights stored in bf16 or FP8, else f32.
    #[arg(long, value_enum, default_value_t = DtypeChoice::Auto)]
    dtype: DtypeChoice,
    /// Threads of the CPU engine; default: one a core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Folder in which the packed weights of `--model` are kept, so that the next start is quick; may be removed at any time.
    /// Default: `serve`: `packed` in its state folder; `run`: `millrace-packed` beside it; else none.
    #[arg(long, env = "MILLRACE_PACKED_CACHE", value_name = "DIR")]
    packed_cache: Option<PathBuf>,
    /// Keep no packed weights.
    #[arg(long)]
    no_packed_cache: bool,
}

/// Values of `--engine`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    Native,
    Null,
}

/// Values of `--device`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
}

/// Values of `--dtype`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeChoice {
    Auto,
    F32,
    Bf16,
    Int8,
}

/// The name under which a model folder is served.
pub fn served_name(model: Option<&Path>) -> anyhow::Result<String> {
    let Some(folder) = model else { return Ok(crate::nano::NAME.to_owned()) };
    let folder = folder.canonicalize().with_context(|| format!("cannot open the model folder `{}`", folder.display()))?;
    folder
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned)
        .with_context(|| format!("`{}` has no name to serve", folder.display()))
}

impl ModelFlags {
    /// The same as the consumer wants it. Packed weights are kept in `packed` if no flag says otherwise.
    pub fn engine(&self, packed: Option<PathBuf>) -> anyhow::Result<EngineSettings> {
        let name = served_name(self.model.as_deref())?;
        if self.engine == EngineChoice::Null {
            return Ok(EngineSettings::Null { name, tokens_per_s: self.null_tokens_per_s, slots: self.slots as usize });
        }
        anyhow::ensure!(self.null_tokens_per_s.is_none(), "--null-tokens-per-s needs --engine null");
        let source = match &self.model {
            Some(folder) => ModelSource::Directory(folder.clone()),
            None => crate::nano::SOURCE,
        };
        let options = Options { slots_max: self.slots as usize, cache_tokens: self.cache_tokens, ..self.compute.options(packed) };
        Ok(EngineSettings::Native { name, source, options })
    }
}

impl ComputeFlags {
    /// The same as the engine wants it.
    pub fn options(&self, packed: Option<PathBuf>) -> Options {
        Options {
            packed_cache: self.packed_cache.clone().or(packed).filter(|_| !self.no_packed_cache),
            device: match self.device {
                DeviceChoice::Auto => engine::Device::Auto,
                DeviceChoice::Cpu => engine::Device::Cpu,
                DeviceChoice::Cuda => engine::Device::Cuda,
            },
            dtype: match self.dtype {
                DtypeChoice::Auto => engine::Dtype::Auto,
                DtypeChoice::F32 => engine::Dtype::F32,
                DtypeChoice::Bf16 => engine::Dtype::Bf16,
                DtypeChoice::Int8 => engine::Dtype::Int8,
            },
            threads: self.threads.unwrap_or(0),
            ..Options::default()
        }
    }
}

/// Bounds on batch files.
#[derive(Args, Clone)]
pub struct LineLimits {
    /// Longest line of a batch file, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().line_bytes_max)]
    line_bytes_max: usize,
    /// Most lines of a batch file.
    #[arg(long, value_name = "N", default_value_t = Limits::default().lines_max)]
    lines_max: u64,
    /// Shortest completion window, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().window_seconds_min)]
    window_seconds_min: u64,
}

impl LineLimits {
    /// These and the defaults of all other limits.
    pub fn limits(&self) -> Limits {
        let Self { line_bytes_max, lines_max, window_seconds_min } = *self;
        Limits { line_bytes_max, lines_max, window_seconds_min, ..Limits::default() }
    }
}

/// Which receivers webhooks may reach besides public `https` ones.
#[derive(Args, Clone)]
pub struct WebhookFlags {
    /// Network whose receivers are allowed although it is private, such as `10.1.0.0/16`; may be repeated.
    #[arg(long, value_name = "CIDR")]
    webhook_allow: Vec<IpNet>,
    /// Allow `http` receivers.
    #[arg(long)]
    webhook_allow_http: bool,
    /// Multiplies all waits between attempts: for tests of receivers.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    webhook_schedule_scale: f64,
}

impl WebhookFlags {
    /// The same as the consumer wants it.
    pub fn settings(&self) -> WebhookSettings {
        WebhookSettings {
            schedule_scale: self.webhook_schedule_scale,
            allow: self.webhook_allow.clone(),
            allow_http: self.webhook_allow_http,
            ..WebhookSettings::default()
        }
    }
}
