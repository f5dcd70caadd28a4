//! Handles that are shared as long as anyone holds them, and whose series vanish with the last one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The handles that somebody holds.
pub(super) struct Live<K, S>(Mutex<HashMap<K, Weak<S>>>);

impl<K, S> Default for Live<K, S> {
    fn default() -> Self {
        Live(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, S> Live<K, S> {
    /// The handles with this key; new ones if nobody holds any.
    pub(super) fn get_or_make(&self, key: K, make: impl FnOnce() -> S) -> Arc<S> {
        let mut live = self.lock();
        if let Some(series) = live.get(&key).and_then(Weak::upgrade) {
            return series;
        }
        let series = Arc::new(make());
        live.insert(key, Arc::downgrade(&series));
        series
    }

    /// Handles with this key were let go. Unless somebody has asked for them again since then, `remove` takes their series away.
    pub(super) fn let_go(&self, key: &K, remove: impl FnOnce()) {
        let mut live = self.lock();
        if live.get(key).is_some_and(|weak| weak.strong_count() > 0) {
            return;
        }
        live.remove(key);
        remove();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
