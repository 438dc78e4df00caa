//! The compute threads. Between two operations they look for work for some microseconds, then they park: another process that
//! wants the cores gets them.

use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Multiplications below which waking a thread costs more than it brings. Tests wake them always.
const WORTH_WAKING: usize = if cfg!(test) { 1 } else { 200_000 };

/// Multiplications that reading, converting and writing one number takes as long as.
const NUMBER: usize = 16;

/// Pieces of work for each thread, so that a slow thread does not keep the others waiting.
const SHARES: usize = 4;

/// Looks at an atomic before a thread parks: 10 to 50 microseconds, about what the caller does alone between two operations.
const LOOKS: usize = 1000;

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
    /// Changes under the lock of `state`, as does `running`; those who only look need no lock.
    round: AtomicU64,
    /// Workers that are in the job.
    running: AtomicUsize,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    parked: usize,
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

    /// The same for work that goes once over so many numbers.
    pub(super) fn split_rows<T>(&self, numbers: usize, rows: impl Iterator<Item = T> + Send, run: impl Fn(T) + Sync) {
        self.split(numbers * NUMBER, rows, run);
    }

    /// Runs `job` here and on every worker that comes before this thread is through with it. Returns when all have returned.
    fn together(&self, job: &(dyn Fn() + Sync)) {
        // SAFETY: `Waiting` is dropped before this function returns or unwinds, and its drop waits until no worker
        // runs the job any more; so the borrow is never used after its end.
        let job = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), Job>(job) };
        let waiting = Waiting(&self.shared);
        self.shared.start(job);
        job();
        drop(waiting);
        assert!(!std::mem::take(&mut lock(&self.shared.state).panicked), "a compute thread panicked");
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
    fn start(&self, job: Job) {
        let mut state = lock(&self.state);
        state.job = Some(job);
        self.round.fetch_add(1, Ordering::Release);
        if state.parked > 0 {
            self.started.notify_all();
        }
    }

    fn work(&self) {
        let mut seen = 0;
        while let Some((round, job)) = self.next_job(seen) {
            seen = round;
            let outcome = panic::catch_unwind(AssertUnwindSafe(job));
            let mut state = lock(&self.state);
            state.panicked |= outcome.is_err();
            if self.running.fetch_sub(1, Ordering::Release) == 1 {
                self.finished.notify_one();
            }
        }
    }

    /// Waits for a job of another round than the one `seen`, and enters it.
    fn next_job(&self, seen: u64) -> Option<(u64, Job)> {
        look_for(|| self.round.load(Ordering::Acquire) != seen);
        let mut state = lock(&self.state);
        loop {
            let round = self.round.load(Ordering::Relaxed);
            match state.job {
                _ if state.closing => return None,
                Some(job) if round != seen => {
                    self.running.fetch_add(1, Ordering::Relaxed);
                    return Some((round, job));
                }
                _ => {}
            }
            state.parked += 1;
            state = self.started.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.parked -= 1;
        }
    }
}

/// Returns when it has happened, or when it is time to park.
fn look_for(happened: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if happened() {
            return;
        }
        hint::spin_loop();
    }
}

/// When dropped, lets nobody else enter the job, and waits until all have left it.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Waiting(shared) = self;
        lock(&shared.state).job = None;
        look_for(|| shared.running.load(Ordering::Acquire) == 0);
        let busy = |_: &mut State| shared.running.load(Ordering::Acquire) > 0;
        drop(shared.finished.wait_while(lock(&shared.state), busy).unwrap_or_else(PoisonError::into_inner));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
