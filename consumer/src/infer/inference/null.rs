//! Answers with a fixed text, at once or as one server of so many tokens a second: for tests of load and fairness. Computes nothing.

use std::collections::VecDeque;

use domain::{
    answer::{Answer, Choice, Finish},
    request::{Generation, Prompt, Request},
    usage::Usage,
};
use tokio::{
    sync::mpsc::error::SendError,
    time::{Duration, Instant, sleep_until},
};

use super::{Command, Ends, Event, Inference, Job, Served};

/// The words of every answer; a word counts as a token.
const WORDS: [&str; 8] = ["This", "is", "what", "the", "null", "engine", "always", "says."];
const CONTEXT_LENGTH: u32 = 32_768;
const BYTES_PER_TOKEN: usize = 4;

pub(super) fn start(name: String, tokens_per_s: Option<f32>, slots: usize) -> Inference {
    let device = "null".to_owned();
    let served = Served { name, context_length: CONTEXT_LENGTH, bytes_per_token: BYTES_PER_TOKEN as f32, slots, device };
    let (inference, ends) = Inference::connect(served);
    // An error is a consumer that has gone.
    tokio::spawn(async move {
        let _ = Null { ends, tokens_per_s, waiting: VecDeque::new(), ready_at: Instant::now() }.run().await;
    });
    inference
}

struct Null {
    ends: Ends,
    tokens_per_s: Option<f32>,
    /// The first is being "computed".
    waiting: VecDeque<Job>,
    /// When the first is done.
    ready_at: Instant,
}

impl Null {
    async fn run(mut self) -> Result<(), SendError<Event>> {
        loop {
            tokio::select! {
                biased;
                command = self.ends.commands.recv() => match command {
                    Some(command) => self.obey(command).await?,
                    None => return Ok(()),
                },
                () = sleep_until(self.ready_at), if !self.waiting.is_empty() => {
                    if let Some(job) = self.waiting.pop_front() {
                        self.ends.events.send(Event::Ended(job.ticket, Ok(answer(&job.request)))).await?;
                    }
                    self.start_next(self.ready_at);
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), SendError<Event>> {
        let first = self.waiting.front().map(|job| job.ticket);
        match command {
            Command::Run(job) => self.waiting.push_back(*job),
            Command::Cancel(ticket) => self.waiting.retain(|job| job.ticket != ticket),
            Command::Withdraw => {
                while self.waiting.len() > 1 {
                    if let Some(job) = self.waiting.pop_back() {
                        self.ends.events.send(Event::Withdrawn(job.ticket)).await?;
                    }
                }
            }
            Command::Clear => {
                self.waiting.clear();
                self.ends.events.send(Event::Cleared).await?;
            }
        }
        if self.waiting.front().map(|job| job.ticket) != first {
            self.start_next(Instant::now());
        }
        Ok(())
    }

    fn start_next(&mut self, at: Instant) {
        if let (Some(job), Some(rate)) = (self.waiting.front(), self.tokens_per_s) {
            let wish = &job.request.generation;
            let tokens = wish.choices * tokens(wish);
            self.ready_at = at + Duration::from_secs_f32((tokens as f32 / rate.max(f32::MIN_POSITIVE)).min(86_400.0));
        }
    }
}

/// The words of one choice: as many as fit the request's limits; without an end-of-sequence, exactly as many as it allows.
fn tokens(wish: &Generation) -> u32 {
    let limit = wish.max_tokens.unwrap_or(WORDS.len() as u32).min(CONTEXT_LENGTH);
    if wish.ignore_eos { limit } else { limit.min(wish.min_tokens.max(WORDS.len() as u32)) }
}

fn answer(request: &Request) -> Answer {
    let count = tokens(&request.generation);
    let words: Vec<&str> = WORDS.iter().copied().cycle().take(count as usize).collect();
    let prompt: usize = match &request.prompt {
        Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum::<usize>().div_ceil(BYTES_PER_TOKEN),
        Prompt::Text(text) => text.len().div_ceil(BYTES_PER_TOKEN),
        Prompt::Tokens(ids) => ids.len(),
    };
    let finish = if request.generation.max_tokens == Some(count) { Finish::Length } else { Finish::Stop };
    let choices = request.generation.choices;
    Answer {
        choices: vec![Choice { text: words.join(" "), finish, ..Choice::default() }; choices as usize],
        usage: Usage { prompt: prompt as u64, completion: u64::from(choices * count), ..Usage::default() },
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::request::Endpoint;

    fn job(ticket: u64, choices: u32, max_tokens: u32) -> Command {
        let body = format!(r#"{{"model":"null","prompt":"hello","n":{choices},"max_tokens":{max_tokens},"ignore_eos":true}}"#);
        let request = Request::parse(Endpoint::Completions, body.as_bytes()).unwrap();
        Command::Run(Box::new(Job { ticket, request, alone: false }))
    }

    #[tokio::test]
    async fn the_rate_is_that_of_the_whole_engine_and_the_cancelled_take_no_time() {
        let mut null = start("null".into(), Some(100.0), 4);
        let begin = Instant::now();
        for command in [job(1, 2, 10), job(2, 1, 5000), job(3, 1, 10), Command::Cancel(2)] {
            null.commands.send(command).await.unwrap();
        }
        for (ticket, choices, completion, seconds) in [(1, 2, 20, 0.2), (3, 1, 10, 0.3)] {
            let Some(Event::Ended(ended, Ok(answer))) = null.events.recv().await else { panic!("no answer") };
            assert_eq!((ended, answer.choices.len(), answer.usage.completion), (ticket, choices, completion));
            assert!(answer.choices.iter().all(|choice| choice.finish == Finish::Length));
            // The upper bound is far: it tells a cancelled job from a busy machine.
            assert!((seconds..30.0).contains(&begin.elapsed().as_secs_f64()));
        }
    }

    #[tokio::test]
    async fn what_has_not_started_is_withdrawn_and_clearing_forgets_the_rest() {
        let mut null = start("null".into(), Some(0.01), 4);
        for command in [job(1, 1, 9), job(2, 1, 9), Command::Withdraw, Command::Clear] {
            null.commands.send(command).await.unwrap();
        }
        assert!(matches!(null.events.recv().await, Some(Event::Withdrawn(2))));
        assert!(matches!(null.events.recv().await, Some(Event::Cleared)));
    }
}
