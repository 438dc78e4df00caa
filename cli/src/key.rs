//! `millrace key`: make, list and revoke API keys, directly in the database.

use clap::Subcommand;
use domain::{id::KeyId, key::ApiKey};
use serde_json::json;

use crate::args::Database;

#[derive(Subcommand)]
pub enum Command {
    /// Make a key for a tenant (made if new) and show it, once.
    #[command(after_help = "Example:\n  millrace key create --tenant acme --json --database-url postgres://…")]
    Create {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        database: Database,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without their secrets.
    List {
        #[command(flatten)]
        database: Database,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; all servers refuse it within a second.
    Revoke {
        /// The id of the key (`key_…`).
        id: KeyId,
        #[command(flatten)]
        database: Database,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { tenant, database, json } => create(&tenant, &database, json).await,
        Command::List { database, json } => list(&database, json).await,
        Command::Revoke { id, database, json } => revoke(id, &database, json).await,
    }
}

async fn create(tenant: &str, database: &Database, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(!tenant.is_empty() && tenant.len() <= 128, "a tenant's name has from 1 to 128 bytes");
    let store = database.open().await?;
    let owner = store.ensure_tenant(tenant).await?;
    let key = ApiKey::from_random(rand::random());
    let id = store.insert_key(owner, key.hash(), key.hint()).await?;
    if json {
        println!("{}", json!({ "id": id, "key": key.reveal(), "tenant": tenant }));
    } else {
        println!("{}", key.reveal());
        eprintln!("This is key {id} of tenant `{tenant}`. It is not stored and will not be shown again.");
    }
    Ok(())
}

async fn list(database: &Database, json: bool) -> anyhow::Result<()> {
    let keys = database.open().await?.keys().await?;
    for key in keys {
        if json {
            let row =
                json!({ "id": key.id, "tenant": key.tenant, "hint": key.hint, "created_at": key.created_at, "revoked_at": key.revoked_at });
            println!("{row}");
        } else {
            let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
            println!("{}  …{}  {state:7}  {}", key.id, key.hint, key.tenant);
        }
    }
    Ok(())
}

async fn revoke(id: KeyId, database: &Database, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(database.open().await?.revoke_key(id).await?, "there is no key {id}");
    if json {
        println!("{}", json!({ "id": id, "revoked": true }));
    } else {
        eprintln!("revoked {id}");
    }
    Ok(())
}
