//! Our engine behind the port: one thread owns it, computes step after step, and looks at its commands in between. It never awaits.
//! A request for several answers goes into it choice by choice, and its one event comes with the last of them.

mod choices;
mod convert;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    thread,
};

use anyhow::Context;
use domain::{answer::Answer, error::ApiError};
use engine::{Completion, Engine, Finished, ModelSource, Options};
use tokio::sync::{
    mpsc::{error::SendError, error::TryRecvError},
    oneshot,
};

use self::choices::ChoiceRequest;
use super::{Command, Ends, Event, Inference, Job, Served, Ticket};
use crate::engine_time::EngineTime;

/// Loads the model on the thread that will run it.
pub(super) async fn start(name: String, source: ModelSource, options: Options, time: EngineTime) -> anyhow::Result<Inference> {
    let (loaded, ready) = oneshot::channel();
    let run = move || match time.measure(|| Engine::load(&source, &options)) {
        Err(error) => drop(loaded.send(Err(error))),
        Ok(engine) => {
            let (inference, ends) = Inference::connect(served(name, &engine, &options));
            if loaded.send(Ok(inference)).is_ok() {
                let mut bench = Bench::new(engine, time, ends);
                // An error is a consumer that has gone; the process ends.
                let _ = bench.run();
                let Bench { mut engine, ends, .. } = bench;
                engine.settle();
                // Whoever waits for the end waits for what is written, and not until all memory is free, which goes with the process.
                drop(ends);
            }
        }
    };
    thread::Builder::new().name("engine".to_owned()).spawn(run)?;
    Ok(ready.await.context("the engine died while loading")??)
}

fn served(name: String, engine: &Engine, options: &Options) -> Served {
    let model = engine.model();
    Served {
        name,
        context_length: u32::try_from(model.context_length).unwrap_or(u32::MAX),
        bytes_per_token: model.bytes_per_token,
        slots: options.slots_max,
        device: format!("{} ({})", model.device, model.device_reason),
    }
}

/// The engine with what waits beside it.
struct Bench {
    engine: Engine,
    time: EngineTime,
    ends: Ends,
    /// What the engine has no room for yet.
    waiting: VecDeque<ChoiceRequest>,
    /// The choices of each request that is here, by index; none for those that have not ended.
    gathered: HashMap<Ticket, Vec<Option<Completion>>>,
    /// The request that runs alone now.
    alone: Option<Ticket>,
}

/// The consumer does not listen any more.
type Gone = SendError<Event>;

impl Bench {
    fn new(engine: Engine, time: EngineTime, ends: Ends) -> Self {
        Self { engine, time, ends, waiting: VecDeque::new(), gathered: HashMap::new(), alone: None }
    }

    fn run(&mut self) -> Result<(), Gone> {
        loop {
            if self.gathered.is_empty() {
                match self.ends.commands.blocking_recv() {
                    Some(command) => self.obey(command)?,
                    None => return Ok(()),
                }
            }
            loop {
                match self.ends.commands.try_recv() {
                    Ok(command) => self.obey(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.step()?;
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Gone> {
        match command {
            Command::Run(job) => {
                self.gathered.insert(job.ticket, vec![None; job.request.generation.choices as usize]);
                self.waiting.extend(ChoiceRequest::all(*job));
            }
            Command::Cancel(ticket) => self.forget(ticket),
            Command::Withdraw => {
                let unstarted = self.engine.withdraw().into_iter().map(|id| choices::place(id).0);
                let unstarted: BTreeSet<Ticket> = unstarted.chain(self.waiting.iter().map(|choice| choice.ticket)).collect();
                for ticket in unstarted {
                    self.forget(ticket);
                    self.ends.events.blocking_send(Event::Withdrawn(ticket))?;
                }
            }
            Command::Clear => {
                for ticket in self.gathered.keys().copied().collect::<Vec<_>>() {
                    self.forget(ticket);
                }
                self.ends.events.blocking_send(Event::Cleared)?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Gone> {
        self.admit()?;
        for finished in self.time.measure(|| self.engine.step()) {
            self.gather(finished)?;
        }
        Ok(())
    }

    /// Moves what waits into the engine, in order: as many as fit, or those of one request that runs alone.
    fn admit(&mut self) -> Result<(), Gone> {
        while let Some(next) = self.waiting.front() {
            let undisturbed = self.engine.is_idle() || self.alone == next.alone.then_some(next.ticket);
            let Some(choice) = self.waiting.pop_front_if(|_| undisturbed && self.engine.room() > 0) else { break };
            let (ticket, id) = (choice.ticket, choices::id(choice.ticket, choice.index));
            self.alone = choice.alone.then_some(ticket);
            if let Err(refusal) = self.time.measure(|| self.engine.add(id, choice.request())) {
                self.end(ticket, Err(convert::refusal(refusal)))?;
            }
        }
        Ok(())
    }

    /// Keeps a choice until it is the last; one that failed is the end of its request.
    fn gather(&mut self, Finished { id, outcome }: Finished) -> Result<(), Gone> {
        let (ticket, index) = choices::place(id);
        // Another choice may have failed in the same step.
        let Some(choices) = self.gathered.get_mut(&ticket) else { return Ok(()) };
        match outcome {
            Ok(completion) => choices[index] = Some(completion),
            Err(failure) => return self.end(ticket, Err(convert::failure(&failure))),
        }
        if choices.iter().any(Option::is_none) {
            return Ok(());
        }
        let completions = choices.drain(..).flatten().collect();
        self.end(ticket, Ok(convert::answer(completions)))
    }

    fn end(&mut self, ticket: Ticket, outcome: Result<Answer, ApiError>) -> Result<(), Gone> {
        self.forget(ticket);
        self.ends.events.blocking_send(Event::Ended(ticket, outcome))
    }

    /// Drops what is left of a request, wherever its choices are.
    fn forget(&mut self, ticket: Ticket) {
        self.waiting.retain(|choice| choice.ticket != ticket);
        let choices = self.gathered.remove(&ticket).map_or(0, |choices| choices.len());
        for index in 0..choices as u32 {
            self.engine.cancel(choices::id(ticket, index));
        }
    }
}

#[cfg(test)]
mod tests;
