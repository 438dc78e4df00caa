//! `millrace migrate`: bring the database to this version and register the shipped model.

use crate::args::Database;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: Database,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let store = args.database.open().await?;
    store.register_model(&crate::nano::registration()).await?;
    eprintln!("the database is up to date");
    Ok(())
}
