//! The compute threads. They park when there is nothing to do: another process that wants the cores gets them.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Multiplications below which waking a thread costs more than it brings. Tests wake them always.
const WORTH_WAKING: usize = if cfg!(test) { 1 } else { 200_000 };

/// Pieces of work for each thread, so that a slow thread does not keep the others waiting.
const SHARES: usize = 2;

/// The calling thread and its workers.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    started: Condvar,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    round: u64,
    running: usize,
    panicked: bool,
    closing: bool,
}

type Job = &'static (dyn Fn() + Sync);

impl Pool {
    /// A pool of this many threads, the caller's included; 0 takes every core.
    pub(super) fn new(threads: usize) -> Pool {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let shared = Arc::new(Shared::default());
        let spawn = |_| {
            let shared = shared.clone();
            thread::spawn(move || shared.work())
        };
        let workers = (1..threads).map(spawn).collect();
        Pool { shared, workers }
    }

    /// How many of `items` make one piece of work.
    pub(super) fn share(&self, items: usize) -> usize {
        items.div_ceil((self.workers.len() + 1) * SHARES).max(1)
    }

    /// Runs every task once, on all threads if `cost` multiplications are worth it.
    pub(super) fn split<T>(&self, cost: usize, tasks: impl Iterator<Item = T> + Send, run: impl Fn(T) + Sync) {
        if cost < WORTH_WAKING || self.workers.is_empty() {
            return tasks.for_each(run);
        }
        let tasks = Mutex::new(tasks);
        let next = || lock(&tasks).next();
        self.together(&|| {
            while let Some(task) = next() {
                run(task);
            }
        });
    }

    /// Runs `job` on every thread, and returns when all have returned from it.
    fn together(&self, job: &(dyn Fn() + Sync)) {
        // SAFETY: `Waiting` is dropped before this function returns or unwinds, and its drop waits until no worker
        // runs the job any more; so the borrow is never used after its end.
        let job = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), Job>(job) };
        let waiting = Waiting(&self.shared);
        self.shared.start(job, self.workers.len());
        job();
        drop(waiting);
        assert!(!lock(&self.shared.state).panicked, "a compute thread panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closing = true;
        self.shared.started.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches what its jobs throw, so it has nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn start(&self, job: Job, workers: usize) {
        let mut state = lock(&self.state);
        state.job = Some(job);
        state.round += 1;
        state.running = workers;
        self.started.notify_all();
    }

    fn work(&self) {
        let mut seen = 0;
        while let Some((round, job)) = self.next_job(seen) {
            seen = round;
            let outcome = panic::catch_unwind(AssertUnwindSafe(job));
            let mut state = lock(&self.state);
            state.panicked |= outcome.is_err();
            state.running -= 1;
            if state.running == 0 {
                self.finished.notify_one();
            }
        }
    }

    fn next_job(&self, seen: u64) -> Option<(u64, Job)> {
        let idle = |state: &mut State| !state.closing && (state.round == seen || state.job.is_none());
        let state = self.started.wait_while(lock(&self.state), idle).unwrap_or_else(PoisonError::into_inner);
        if state.closing { None } else { state.job.map(|job| (state.round, job)) }
    }
}

/// Waits, when dropped, until the workers have left the job.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let busy = |state: &mut State| state.running > 0;
        let mut state = self.0.finished.wait_while(lock(&self.0.state), busy).unwrap_or_else(PoisonError::into_inner);
        state.job = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
