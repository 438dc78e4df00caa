//! Models that were ever registered; they outlive their workers.

use super::*;
use domain::model::Model;

impl Store {
    /// Adds a model or refreshes what is known of it (`created_at` stays, `tokens_per_s` only if given).
    pub async fn register_model(&self, model: &Model) -> Result<()> {
        let sql = "insert into models (name, context_length, bytes_per_token, tokens_per_s) values ($1, $2, $3, $4)
            on conflict (name) do update set
                context_length = excluded.context_length,
                bytes_per_token = excluded.bytes_per_token,
                tokens_per_s = coalesce(excluded.tokens_per_s, models.tokens_per_s)";
        self.write(sql, args![&model.name, model.context_length, model.bytes_per_token, model.tokens_per_s]).await?;
        Ok(())
    }

    /// One model.
    pub async fn model(&self, name: &str) -> Result<Option<Model>> {
        let row = self.read_one("select * from models where name = $1", args![name]).await?;
        row.as_ref().map(model).transpose()
    }

    /// All models by name, each with whether a live worker serves it.
    pub async fn models(&self) -> Result<Vec<(Model, bool)>> {
        let sql = "select m.*, exists (select 1 from workers w where w.model = m.name and w.lease_until > now()) as served
            from models m order by m.name";
        self.read(sql, args![]).await?.iter().map(|row| Ok((model(row)?, row.get("served")?))).collect()
    }
}

fn model(row: &Row) -> Result<Model> {
    Ok(Model {
        name: row.get("name")?,
        context_length: row.small_count("context_length")?,
        bytes_per_token: row.get("bytes_per_token")?,
        tokens_per_s: row.optional("tokens_per_s")?,
        created_at: row.time("created_at")?,
    })
}
