//! Fair choice between tenants: the virtual token counter of Sheng et al. (OSDI 2024, arXiv 2401.00588).
//! Within a tenant the caller's order (earliest deadline first) is kept.

use crate::id::{RequestId, TenantId};

/// A tenant with work that could be dispatched.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimant {
    pub tenant: TenantId,
    /// Virtual tokens served so far: cost divided by weight, summed.
    pub served: f64,
    /// Share relative to other tenants; 1 is normal.
    pub weight: f64,
    /// Runnable requests with their estimated cost in tokens, the most urgent first.
    pub runnable: Vec<(RequestId, u64)>,
}

/// What to dispatch, in order, and the counters after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    pub requests: Vec<RequestId>,
    /// What the tenants that were served pay for it.
    pub charges: Vec<Charge>,
    /// The lowest counter among all claimants: newcomers start from here, so that idleness earns no credit.
    pub floor: f64,
}

/// What a choice costs one tenant. A difference, because several lanes may serve the same tenant at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    pub tenant: TenantId,
    /// The counter before the choice; one that is still lower is lifted to it.
    pub start: f64,
    /// Virtual tokens to add.
    pub tokens: f64,
}

/// Serves the claimant with the smallest counter, again and again, until `room` requests are chosen.
/// `floor` is that of the previous choice.
pub fn choose(mut claimants: Vec<Claimant>, room: usize, floor: f64) -> Choice {
    for claimant in &mut claimants {
        claimant.served = claimant.served.max(floor);
        claimant.weight = claimant.weight.max(f64::MIN_POSITIVE);
        claimant.runnable.reverse();
    }
    let mut requests = Vec::with_capacity(room.min(4096));
    let starts: Vec<f64> = claimants.iter().map(|claimant| claimant.served).collect();
    while requests.len() < room {
        let next = claimants
            .iter_mut()
            .filter(|claimant| !claimant.runnable.is_empty())
            .min_by(|a, b| a.served.total_cmp(&b.served).then(a.tenant.cmp(&b.tenant)));
        let Some(claimant) = next else { break };
        let Some((request, cost)) = claimant.runnable.pop() else { break };
        claimant.served += cost as f64 / claimant.weight;
        requests.push(request);
    }
    let floor = claimants.iter().map(|claimant| claimant.served).reduce(f64::min).unwrap_or(floor);
    let charges =
        claimants.iter().zip(starts).map(|(claimant, start)| Charge { tenant: claimant.tenant, start, tokens: claimant.served - start });
    Choice { requests, charges: charges.filter(|charge| charge.tokens > 0.0).collect(), floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(served: f64, weight: f64, costs: &[u64]) -> Claimant {
        Claimant { tenant: TenantId::new(), served, weight, runnable: costs.iter().map(|&cost| (RequestId::new(), cost)).collect() }
    }

    #[test]
    fn a_quiet_tenant_is_served_beside_a_noisy_one() {
        let noisy = claimant(0.0, 1.0, &[10; 1000]);
        let quiet = claimant(0.0, 1.0, &[10; 3]);
        let wanted: Vec<_> = quiet.runnable.iter().map(|(id, _)| *id).collect();
        let choice = choose(vec![noisy, quiet], 6, 0.0);
        assert!(wanted.iter().all(|id| choice.requests.contains(id)));
        assert_eq!(choice.requests.len(), 6);
    }

    #[test]
    fn tokens_are_shared_by_weight_whatever_the_size_of_the_requests() {
        let (large, small) = (claimant(0.0, 1.0, &[100; 500]), claimant(0.0, 2.0, &[10; 500]));
        let ids: Vec<_> = large.runnable.iter().map(|(id, _)| *id).collect();
        let choice = choose(vec![large, small], 210, 0.0);
        let large_tokens = 100 * choice.requests.iter().filter(|id| ids.contains(id)).count();
        let small_tokens = 10 * choice.requests.len() - large_tokens / 10;
        let ratio = small_tokens as f64 / large_tokens as f64;
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn idleness_earns_no_credit() {
        let busy = claimant(1000.0, 1.0, &[10; 100]);
        let newcomer = claimant(0.0, 1.0, &[10; 100]);
        let ids: Vec<_> = busy.runnable.iter().map(|(id, _)| *id).collect();
        let choice = choose(vec![busy, newcomer], 20, 1000.0);
        assert_eq!(choice.requests.iter().filter(|id| ids.contains(id)).count(), 10);
    }

    #[test]
    fn within_a_tenant_the_given_order_is_kept() {
        let one = claimant(0.0, 1.0, &[1, 2, 3]);
        let order: Vec<_> = one.runnable.iter().map(|(id, _)| *id).collect();
        assert_eq!(choose(vec![one], 10, 0.0).requests, order);
    }
}
