//! The choices of a request: to the engine each is a request of its own, under an id that tells which one it is.

use std::rc::Rc;

use domain::{limits::CHOICES_MAX, request::Request};

use super::{Job, Ticket, convert};

/// One of the answers that a request asks for, on its way to the engine.
pub(super) struct ChoiceRequest {
    pub(super) ticket: Ticket,
    pub(super) index: u32,
    pub(super) alone: bool,
    request: Rc<Request>,
}

impl ChoiceRequest {
    /// All choices of a request.
    pub(super) fn all(job: Job) -> impl Iterator<Item = Self> {
        let Job { ticket, request, alone } = job;
        let choices = 0..request.generation.choices;
        let request = Rc::new(request);
        choices.map(move |index| Self { ticket, index, alone, request: request.clone() })
    }

    /// What the engine is asked. Nothing is copied for the last choice.
    pub(super) fn request(self) -> engine::Request {
        convert::request(Rc::unwrap_or_clone(self.request), self.index)
    }
}

/// The engine's name for a choice.
pub(super) fn id(ticket: Ticket, index: u32) -> u64 {
    ticket * u64::from(CHOICES_MAX) + u64::from(index)
}

/// The request of a choice, and the choice's index in it.
pub(super) fn place(id: u64) -> (Ticket, usize) {
    (id / u64::from(CHOICES_MAX), (id % u64::from(CHOICES_MAX)) as usize)
}
