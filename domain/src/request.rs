//! A request: what is asked of a model, and the states it goes through until it has its one terminal result.

mod body;

pub use body::{Format, Generation, Message, Prompt, Request, Role, ToolChoice, Tools};

use serde::{Deserialize, Serialize};

/// The endpoints whose requests wait in the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    ChatCompletions,
    Completions,
}

impl Endpoint {
    /// All endpoints, in the order in which errors list them.
    pub const ALL: [Self; 2] = [Self::ChatCompletions, Self::Completions];

    /// The path as it stands in a batch and in its lines.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }

    /// The endpoint of a path.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// What the ids of answers start with.
    pub const fn id_prefix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chatcmpl-",
            Self::Completions => "cmpl-",
        }
    }

    /// The `object` of answers.
    pub const fn object(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completion",
            Self::Completions => "text_completion",
        }
    }
}

/// Which of a model's two queues a request takes; workers drain `interactive` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Interactive,
    Batch,
}

impl Lane {
    /// Both lanes, in the order in which workers drain them.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// The name in queue names, in the store and in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// Where a request stands. The last four are terminal and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Queued,
    Dispatched,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its doorbell was published.
    Dispatch,
    /// The doorbell was lost, or nobody answered it.
    DispatchLost,
    /// A worker claimed it.
    Claim,
    /// The worker died, or gave it back while draining.
    Release,
    /// The model answered.
    Succeed,
    /// The request was refused, or its attempts are used up.
    Fail,
    /// Its owner does not want it any more.
    Cancel,
    /// Its window has closed.
    Expire,
}

impl State {
    /// All states, in the order of a request's life.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Dispatched, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired];

    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the state is final.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// The state after an event; `None` if the event cannot happen here. Every update in the store is guarded by the state it leaves.
    pub const fn next(self, event: Event) -> Option<Self> {
        use Event as E;
        Some(match (self, event) {
            (Self::Queued, E::Dispatch) => Self::Dispatched,
            (Self::Dispatched, E::DispatchLost) => Self::Queued,
            (Self::Dispatched, E::Claim) => Self::Running,
            (Self::Running, E::Release) => Self::Queued,
            (Self::Running, E::Succeed) => Self::Succeeded,
            (Self::Running, E::Fail) => Self::Failed,
            (Self::Queued | Self::Dispatched | Self::Running, E::Cancel) => Self::Cancelled,
            (Self::Queued | Self::Dispatched | Self::Running, E::Expire) => Self::Expired,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 8] =
        [Event::Dispatch, Event::DispatchLost, Event::Claim, Event::Release, Event::Succeed, Event::Fail, Event::Cancel, Event::Expire];

    #[test]
    fn terminal_states_never_change_and_all_others_can_be_cancelled_and_expire() {
        for state in State::ALL {
            for event in EVENTS {
                if state.is_terminal() {
                    assert_eq!(state.next(event), None, "{state:?} {event:?}");
                }
            }
            assert_eq!(state.next(Event::Cancel).is_some(), !state.is_terminal());
            assert_eq!(state.next(Event::Expire).is_some(), !state.is_terminal());
        }
    }

    #[test]
    fn only_a_dispatched_request_can_be_claimed_and_only_a_running_one_can_end_with_an_answer() {
        for state in State::ALL {
            assert_eq!(state.next(Event::Claim).is_some(), state == State::Dispatched);
            assert_eq!(state.next(Event::Succeed).is_some(), state == State::Running);
        }
    }

    #[test]
    fn names_lead_back_to_their_states() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
        }
    }
}
