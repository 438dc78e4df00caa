//! What fits into the memory that is free now: the packed weights first, then the cache.

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
use tracing::warn;

use crate::error::LoadError;

/// What a model is going to take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    pub(crate) weights_bytes: u64,
    /// What the layers cache for a token.
    pub(crate) token_bytes: u64,
    pub(crate) cache_tokens: usize,
    /// Tokens that the longest request needs.
    pub(crate) context_length: usize,
}

impl Demand {
    /// The cached tokens asked for, or as many as fit. Refuses where they would be too few for a request that is otherwise taken: what a
    /// model can answer must not depend on the hour at which a worker starts.
    pub(crate) fn tokens(self) -> Result<usize, LoadError> {
        let free = free_bytes();
        let tokens = self.tokens_in(free).ok_or_else(|| {
            let [weights, free] = [self.weights_bytes, free].map(megabytes);
            LoadError::Memory { weights, free }
        })?;
        if tokens < self.cache_tokens {
            warn!(asked = self.cache_tokens, tokens, "the cache takes fewer tokens than asked for, as many as there is memory for");
        }
        Ok(tokens)
    }

    /// Leaves a tenth of what the weights leave, for activations and everything else.
    fn tokens_in(self, free: u64) -> Option<usize> {
        let left = free.checked_sub(self.weights_bytes)?;
        let tokens = usize::try_from((left - left / 10) / self.token_bytes.max(1)).unwrap_or(usize::MAX);
        let enough = self.context_length.min(self.cache_tokens);
        (tokens >= enough).then_some(tokens.min(self.cache_tokens))
    }
}

/// Memory that the machine and the control group of this process can still give, without end where nobody says. Of what the group has in
/// use only memory without files counts: files, the mapped weights among them, give way.
fn free_bytes() -> u64 {
    let Ok(mut system) = System::new() else { return u64::MAX };
    system.refresh_memory();
    let available = system.available_memory();
    let group = sysinfo::get_current_pid().ok().and_then(|process| {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), true, ProcessRefreshKind::nothing());
        system.process(process)?.cgroup_limits()
    });
    group.map_or(available, |group| available.min(group.total_memory.saturating_sub(group.rss)))
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand { weights_bytes: 6_000, token_bytes: 100, cache_tokens: 32, context_length: 10 };

    #[test]
    fn the_cache_gets_what_was_asked_for_or_as_much_as_the_weights_leave() {
        assert_eq!(DEMAND.tokens_in(1_000_000), Some(32));
        assert_eq!(DEMAND.tokens_in(8_000), Some(18));
        assert_eq!(Demand { cache_tokens: usize::MAX, ..DEMAND }.tokens_in(16_000), Some(90));
    }

    #[test]
    fn weights_that_leave_no_room_for_the_longest_request_do_not_fit() {
        assert_eq!(DEMAND.tokens_in(7_200), Some(10));
        assert_eq!(DEMAND.tokens_in(7_000), None);
        assert_eq!(DEMAND.tokens_in(5_999), None);
    }
}
