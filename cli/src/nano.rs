//! The shipped model, millrace-nano, as part of the binary.

use domain::model::Model;
use engine::ModelSource;

/// The name under which it is served.
pub const NAME: &str = "millrace-nano";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../models/millrace-nano/", $name)) as &[u8])),*]
    };
}

/// A constant would be embedded again in each part of the program that uses it.
static FILES: [(&str, &[u8]); 5] =
    files!["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// Where the engine finds it.
pub const SOURCE: ModelSource = ModelSource::Embedded(&FILES);

/// What `migrate` writes into the `models` table, so that nano's requests are accepted before any worker came up.
pub fn registration() -> Model {
    Model { name: NAME.to_owned(), context_length: 4096, bytes_per_token: 2.5, tokens_per_s: None, created_at: 0 }
}
