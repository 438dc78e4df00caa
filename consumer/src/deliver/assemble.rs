//! Ended lines become the output file and the error file of their batch, streamed in line order with bounded memory.

use backing::{
    Backing, Error, Result,
    objects::Writer,
    store::{Body, LineResult, Phase, Term},
};
use chrono::Utc;
use domain::{
    answer::{Outcome, line_without_answer},
    batch::Batch,
    error::ApiError,
    file::{File, Purpose},
    id::FileId,
    request::State,
    usage::Usage,
};
use uuid::Uuid;

use crate::{batch_lease::while_held, settings::LeaseSettings, turn::Step};

/// Lines read in one query; with results of at most 64 KiB that is 16 MiB.
const PAGE_LINES: u32 = 256;
/// Lifetime of result files whose batch names none: 30 days.
const FILE_SECONDS: u64 = 30 * 24 * 3600;

/// Writes the files of the oldest batch that waits for them, and ends the batch.
pub async fn assemble_once(backing: &Backing, timing: &LeaseSettings) -> anyhow::Result<Step> {
    let Some((batch, _, term)) = backing.store.take_batch(Phase::Assemble, timing.lease.as_secs_f64()).await? else {
        return Ok(Step::Idle);
    };
    while_held(&backing.store, batch.id, term, timing, assemble(backing, &batch, term)).await.transpose()?;
    Ok(Step::Worked)
}

async fn assemble(backing: &Backing, batch: &Batch, term: Term) -> Result<()> {
    let mut output = ResultFile::new(batch, term, Kind::Output);
    let mut errors = ResultFile::new(batch, term, Kind::Error);
    let mut after = 0;
    loop {
        let page = backing.store.ended_lines(batch.id, after, PAGE_LINES).await?;
        let Some(last) = page.last() else { break };
        after = last.line;
        for line in page {
            let (id, custom_id, succeeded) = (line.id, line.custom_id.clone(), line.state == State::Succeeded);
            match text_of(backing, line).await {
                Ok(text) if succeeded => output.write(backing, &text).await?,
                Ok(text) => errors.write(backing, &text).await?,
                // Gone for good: its owner hears of it instead of waiting for ever.
                Err(Error::NoObject(key)) => {
                    tracing::error!(batch = %batch.id, request = %id, key, "a stored result is gone");
                    errors.write(backing, &Outcome::refused(&lost()).line(id, &custom_id)).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    let (written, ended) = (output.lines + errors.lines, batch.counts.ended());
    if written != ended {
        return Err(Error::Corrupt(format!("{} has {ended} ended lines, but {written} can be read", batch.id)));
    }
    let (output, errors) = (output.finish().await?, errors.finish().await?);
    let completed = backing.store.complete_batch(batch.id, term, output.as_ref(), errors.as_ref()).await?;
    tracing::info!(batch = %batch.id, completed, "result files written");
    // Only one term's files are the batch's: ours, or, if the lease was lost, none of ours.
    let useless = if completed { 1..term.0 } else { term.0..term.0 + 1 };
    for term in useless {
        for kind in [Kind::Output, Kind::Error] {
            backing.objects.delete(&kind.key(batch, Term(term))).await?;
        }
    }
    Ok(())
}

fn lost() -> ApiError {
    ApiError::new(500, "server_error", "result_lost", "The stored result of this request does not exist any more.".to_owned())
}

async fn text_of(backing: &Backing, line: LineResult) -> Result<String> {
    let Some((status, body)) = line.result else {
        return Ok(line_without_answer(line.id, &line.custom_id, line.state));
    };
    let body = match body {
        Body::Inline(text) => text,
        Body::Object { key } => read_text(backing, &key, 0, None).await?,
        Body::Range { key, offset, bytes } => read_text(backing, &key, offset, Some(u64::from(bytes))).await?,
    };
    Ok(Outcome { state: line.state, status, body, usage: Usage::default() }.line(line.id, &line.custom_id))
}

async fn read_text(backing: &Backing, key: &str, offset: u64, length: Option<u64>) -> Result<String> {
    let bytes = backing.objects.read_whole(key, offset, length).await?;
    String::from_utf8(bytes.into()).map_err(|_| Error::Corrupt(format!("the result under {key} is not text")))
}

#[derive(Clone, Copy)]
enum Kind {
    Output,
    Error,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Error => "error",
        }
    }

    /// Follows from the batch, so that an assembly that is repeated makes the same file.
    fn file_id(self, batch: &Batch) -> FileId {
        let mark = match self {
            Self::Output => 1,
            Self::Error => 2,
        };
        FileId::from(Uuid::from_u128(batch.id.uuid().as_u128() ^ mark))
    }

    /// Named by term as well: a process that was stopped past its lease must not write over the files of its successor.
    fn key(self, batch: &Batch, term: Term) -> String {
        format!("{}/{}", File::key_of(batch.tenant, self.file_id(batch)), term.0)
    }
}

/// A result file on its way; it comes into being with its first line.
struct ResultFile<'a> {
    batch: &'a Batch,
    kind: Kind,
    key: String,
    lines: u64,
    writer: Option<Writer>,
}

impl<'a> ResultFile<'a> {
    fn new(batch: &'a Batch, term: Term, kind: Kind) -> Self {
        Self { batch, kind, key: kind.key(batch, term), lines: 0, writer: None }
    }

    async fn write(&mut self, backing: &Backing, line: &str) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(backing.objects.create(&self.key).await?),
        };
        self.lines += 1;
        writer.write(line.as_bytes()).await?;
        writer.write(b"\n").await
    }

    /// The row of the finished file; none if there was no line for it.
    async fn finish(self) -> Result<Option<File>> {
        let Some(writer) = self.writer else { return Ok(None) };
        let bytes = writer.bytes();
        writer.finish().await?;
        let created_at = Utc::now().timestamp();
        let seconds = self.batch.output_seconds.unwrap_or(FILE_SECONDS);
        Ok(Some(File {
            id: self.kind.file_id(self.batch),
            tenant: self.batch.tenant,
            purpose: Purpose::BatchOutput,
            filename: format!("{}_{}.jsonl", self.batch.id, self.kind.word()),
            bytes,
            key: self.key,
            created_at,
            expires_at: i64::try_from(seconds).ok().and_then(|seconds| created_at.checked_add(seconds)),
        }))
    }
}
