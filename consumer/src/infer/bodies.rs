//! The bodies of claimed requests: inline, an object each, or parts of an input file, of which neighbours are read in one range.

use std::time::Duration;

use backing::{
    Error,
    objects::Objects,
    store::{Body, Claimed},
};
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::turn::backoff;

/// Bytes between two bodies that are cheaper to read than to skip, and the largest range read at once.
const GAP_BYTES_MAX: u64 = 8 << 10;
const RANGE_BYTES_MAX: u64 = 8 << 20;
const READS_AT_ONCE: usize = 4;
const TRIES: u32 = 4;

/// A stretch of one object and the requests (by index) whose bodies stand in it.
#[derive(Debug, PartialEq)]
struct Stretch {
    key: String,
    start: u64,
    /// Exclusive; none reads to the end of the object.
    end: Option<u64>,
    members: Vec<usize>,
}

/// The bodies in the order of the claims. A body that cannot be read has its error instead.
pub(super) async fn load(objects: &Objects, claimed: &[Claimed]) -> Vec<Result<Bytes, Error>> {
    let unread = || Err(Error::Timeout { what: "object store", after: Duration::ZERO });
    let mut bodies: Vec<_> = claimed
        .iter()
        .map(|claim| match &claim.body {
            Body::Inline(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Body::Object { .. } | Body::Range { .. } => unread(),
        })
        .collect();
    let mut reads = stream::iter(stretches(claimed))
        .map(|stretch| async move { (read(objects, &stretch).await, stretch) })
        .buffer_unordered(READS_AT_ONCE);
    while let Some((outcome, stretch)) = reads.next().await {
        for index in stretch.members {
            bodies[index] = match (&outcome, &claimed[index].body) {
                (Ok(bytes), Body::Range { offset, bytes: length, .. }) => cut(bytes, offset - stretch.start, *length, &stretch.key),
                (Ok(bytes), _) => Ok(bytes.clone()),
                (Err(Error::NoObject(key)), _) => Err(Error::NoObject(key.clone())),
                (Err(_), _) => unread(),
            };
        }
    }
    bodies
}

/// Joins neighbours in the same file, whatever order they were claimed in.
fn stretches(claimed: &[Claimed]) -> Vec<Stretch> {
    let mut parts: Vec<Stretch> = claimed
        .iter()
        .enumerate()
        .filter_map(|(index, claim)| match &claim.body {
            Body::Inline(_) => None,
            Body::Object { key } => Some(Stretch { key: key.clone(), start: 0, end: None, members: vec![index] }),
            Body::Range { key, offset, bytes } => {
                Some(Stretch { key: key.clone(), start: *offset, end: Some(offset + u64::from(*bytes)), members: vec![index] })
            }
        })
        .collect();
    parts.sort_by(|a, b| (&a.key, a.start).cmp(&(&b.key, b.start)));
    let mut joined: Vec<Stretch> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part.end) {
            (Some(Stretch { key, start, end: Some(last_end), members }), Some(end))
                if *key == part.key && part.start <= *last_end + GAP_BYTES_MAX && end <= *start + RANGE_BYTES_MAX =>
            {
                *last_end = end.max(*last_end);
                members.extend(part.members);
            }
            _ => joined.push(part),
        }
    }
    joined
}

async fn read(objects: &Objects, stretch: &Stretch) -> Result<Bytes, Error> {
    let length = stretch.end.map(|end| end - stretch.start);
    let mut tries = 0;
    loop {
        match objects.read_whole(&stretch.key, stretch.start, length).await {
            Err(error) if !matches!(error, Error::NoObject(_)) && tries + 1 < TRIES => {
                tracing::warn!("cannot read bodies: {error}");
                tokio::time::sleep(backoff(tries)).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// A body within a stretch; a file that is shorter than it was at validation is as good as gone.
fn cut(stretch: &Bytes, start: u64, length: u32, key: &str) -> Result<Bytes, Error> {
    let range = usize::try_from(start).ok().and_then(|start| Some(start..start.checked_add(length as usize)?));
    match range.filter(|range| range.end <= stretch.len()) {
        Some(range) => Ok(stretch.slice(range)),
        None => Err(Error::NoObject(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        id::{RequestId, TenantId},
        request::Endpoint,
    };

    fn claimed(body: Body) -> Claimed {
        let (id, tenant, endpoint) = (RequestId::new(), TenantId::new(), Endpoint::Completions);
        Claimed { id, epoch: 1, tenant, batch: None, endpoint, model: "m".into(), body, attempts: 1, traceparent: None }
    }

    fn part(key: &str, offset: u64, bytes: u32) -> Claimed {
        claimed(Body::Range { key: key.into(), offset, bytes })
    }

    #[test]
    fn neighbours_in_a_file_are_read_in_one_range() {
        let far = 200 + GAP_BYTES_MAX + 1;
        let claims = [part("a", 100, 50), part("b", 0, 9), part("a", 160, 40), part("a", far, 1), claimed(Body::Inline("x".into()))];
        let expected = [("a", 100, 200, vec![0, 2]), ("a", far, far + 1, vec![3]), ("b", 0, 9, vec![1])];
        let expected = expected.map(|(key, start, end, members)| Stretch { key: key.into(), start, end: Some(end), members });
        assert_eq!(stretches(&claims), expected);
    }

    #[test]
    fn a_range_never_grows_over_its_bound() {
        let large = RANGE_BYTES_MAX as u32 - 10;
        assert_eq!(stretches(&[part("a", 0, large), part("a", u64::from(large), 11)]).len(), 2);
    }

    #[test]
    fn a_body_beyond_the_end_of_its_file_is_gone() {
        assert!(matches!(cut(&Bytes::from_static(b"abc"), 2, 2, "k"), Err(Error::NoObject(_))));
        assert_eq!(cut(&Bytes::from_static(b"abc"), 1, 2, "k").unwrap(), "bc");
    }
}
