//! A bounded map whose entries live for seconds: spares the store questions that it has just answered.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Entries kept at most; wrong keys cannot fill the memory.
const ENTRIES_MAX: usize = 10_000;

/// Answers of the store, each remembered for a while.
pub(crate) struct Remembered<K, V> {
    lifetime: Duration,
    entries: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, entries: Mutex::new(HashMap::new()) }
    }

    /// The value of a key, unless it is unknown or too old.
    pub(crate) fn recall<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let entries = self.entries();
        entries.get(key).filter(|(_, kept_at)| kept_at.elapsed() < self.lifetime).map(|(value, _)| value.clone())
    }

    /// Remembers a value from now on.
    pub(crate) fn keep(&self, key: K, value: V) {
        let mut entries = self.entries();
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (_, kept_at)| kept_at.elapsed() < self.lifetime);
        }
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(key, (value, Instant::now()));
    }

    /// Forgets everything, because some of it may have changed.
    pub(crate) fn forget_all(&self) {
        self.entries().clear();
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_remembered_until_it_is_forgotten() {
        let remembered = Remembered::new(Duration::from_secs(60));
        remembered.keep("a".to_owned(), 1);
        assert_eq!(remembered.recall("a"), Some(1));
        remembered.forget_all();
        assert_eq!(remembered.recall("a"), None);
    }

    #[test]
    fn an_old_value_is_not_recalled() {
        let remembered = Remembered::new(Duration::ZERO);
        remembered.keep("a".to_owned(), 1);
        assert_eq!(remembered.recall("a"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let remembered = Remembered::new(Duration::from_secs(60));
        for key in 0..3 * ENTRIES_MAX {
            remembered.keep(key, ());
        }
        assert!(remembered.entries().len() <= ENTRIES_MAX);
    }
}
