//! Our engine behind the port: one thread owns it, computes step after step, and looks at its commands in between. It never awaits.

mod convert;

use std::{
    collections::{HashSet, VecDeque},
    thread,
};

use anyhow::Context;
use engine::{Engine, ModelSource, Options};
use tokio::sync::{
    mpsc::{error::SendError, error::TryRecvError},
    oneshot,
};

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
                // An error is a consumer that has gone; the process ends.
                let _ = Bench { engine, time, ends, waiting: VecDeque::new(), running: HashSet::new(), alone: false }.run();
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
    waiting: VecDeque<Job>,
    /// What the engine has, started or not.
    running: HashSet<Ticket>,
    /// What runs now runs alone.
    alone: bool,
}

/// The consumer does not listen any more.
type Gone = SendError<Event>;

impl Bench {
    fn run(mut self) -> Result<(), Gone> {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
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
            self.admit()?;
            for finished in self.time.measure(|| self.engine.step()) {
                self.running.remove(&finished.id);
                self.ends.events.blocking_send(Event::Ended(finished.id, convert::outcome(finished.outcome)))?;
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Gone> {
        match command {
            Command::Run(job) => self.waiting.push_back(*job),
            Command::Cancel(ticket) => {
                self.waiting.retain(|job| job.ticket != ticket);
                if self.running.remove(&ticket) {
                    self.engine.cancel(ticket);
                }
            }
            Command::Withdraw => {
                let unstarted = self.engine.withdraw();
                for ticket in &unstarted {
                    self.running.remove(ticket);
                }
                for ticket in unstarted.into_iter().chain(self.waiting.drain(..).map(|job| job.ticket)) {
                    self.ends.events.blocking_send(Event::Withdrawn(ticket))?;
                }
            }
            Command::Clear => {
                self.waiting.clear();
                for ticket in self.running.drain() {
                    self.engine.cancel(ticket);
                }
                self.ends.events.blocking_send(Event::Cleared)?;
            }
        }
        Ok(())
    }

    /// Moves what waits into the engine, in order: as many as fit, or one that runs alone.
    fn admit(&mut self) -> Result<(), Gone> {
        while let Some(next) = self.waiting.front() {
            let undisturbed = self.running.is_empty() || !(next.alone || self.alone);
            let Some(job) = self.waiting.pop_front_if(|_| undisturbed && self.engine.room() > 0) else { break };
            self.alone = job.alone;
            match self.time.measure(|| self.engine.add(job.ticket, convert::request(job.request))) {
                Ok(()) => drop(self.running.insert(job.ticket)),
                Err(refusal) => self.ends.events.blocking_send(Event::Ended(job.ticket, Err(convert::refusal(refusal))))?,
            }
        }
        Ok(())
    }
}
