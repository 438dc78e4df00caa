//! Models that were ever registered; they outlive their workers.

use super::*;
use domain::model::Model;

impl Store {
    /// Adds a model or refreshes what is known of it (`created_at` stays, `tokens_per_s` only if given).
    pub async fn register_model(&self, model: &Model) -> Result<()> {
        todo!("{model:?}")
    }

    /// One model.
    pub async fn model(&self, name: &str) -> Result<Option<Model>> {
        todo!("{name}")
    }

    /// All models by name, each with whether a live worker serves it.
    pub async fn models(&self) -> Result<Vec<(Model, bool)>> {
        todo!()
    }
}
