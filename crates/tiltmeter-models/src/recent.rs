//! The few values that were used last.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Keeps the values that were used last, up to a number of them.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    /// The last used first.
    entries: Mutex<VecDeque<(K, V)>>,
    most: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { entries: Mutex::default(), most }
    }

    /// The value of a key, made where it is not known. Others wait while it is made.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().position(|(known, _)| *known == key);
        let entry = known.and_then(|index| entries.remove(index)).unwrap_or_else(|| (key, make()));
        let value = entry.1.clone();
        entries.push_front(entry);
        entries.truncate(self.most);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_lately_is_made_again() {
        let recent = Recent::new(2);
        let mut made = Vec::new();
        for key in [1, 2, 1, 3, 1, 2, 1] {
            recent.get(key, || made.push(key));
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }
}
