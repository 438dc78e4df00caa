//! The engine through its public interface, on tiny random models whose weights lie in `fixtures/`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod formats;
mod invariance;
mod loading;
mod nano;
mod packed;
mod prompts;
mod scheduling;
mod speculation;
mod tiny;
