//! `millrace batch download`: the result files of a batch, one after the other, streamed.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::client::Client;

pub async fn run(client: &Client, id: &str, output: &Path) -> anyhow::Result<()> {
    let batch = client.get(&format!("/v1/batches/{id}")).await?;
    let files: Vec<&str> = ["output_file_id", "error_file_id"].iter().filter_map(|name| batch[*name].as_str()).collect();
    ensure!(!files.is_empty(), "batch {id} is {} and has no result file", batch["status"].as_str().unwrap_or("unknown"));
    if output == Path::new("-") {
        return copy(client, &files, &mut tokio::io::stdout()).await;
    }
    // The name appears only once the content is whole.
    let partial = output.with_added_extension("partial");
    let mut file = tokio::fs::File::create(&partial).await.with_context(|| format!("cannot write `{}`", partial.display()))?;
    copy(client, &files, &mut file).await?;
    file.sync_all().await?;
    tokio::fs::rename(&partial, output).await?;
    eprintln!("{}", output.display());
    Ok(())
}

async fn copy(client: &Client, files: &[&str], output: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    for file in files {
        let mut content = client.content(file).await?;
        while let Some(chunk) = content.chunk().await? {
            output.write_all(&chunk).await?;
        }
    }
    output.flush().await?;
    Ok(())
}
