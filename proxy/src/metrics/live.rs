//! Series that are shared as long as anyone holds them, and end with the last holder.
//!
//! Invariant: a subject's series (an upstream's, an endpoint's, a policy's) end together, and
//! nobody who counted into them brings them back, because counting goes to handles that exist
//! already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::core::{MetricVec, MetricVecBuilder};

/// The values of a subject's labels.
type Labels = Vec<String>;
type Removal = Box<dyn FnOnce() + Send + Sync>;

/// The series of all subjects of a kind that somebody holds.
pub(super) struct Live<S>(Arc<Mutex<HashMap<Labels, Weak<S>>>>);

/// Makes the series of one subject, and remembers them for their end.
#[derive(Clone)]
pub(super) struct Subject {
    labels: Labels,
    removals: Arc<Mutex<Vec<Removal>>>,
}

/// Ends the series of a subject when it is dropped. It belongs to those who hold them.
pub(super) struct Ends(Option<Removal>);

impl<S> Default for Live<S> {
    fn default() -> Self {
        Live(Arc::default())
    }
}

impl<S: Send + Sync + 'static> Live<S> {
    /// The series of the subject with these labels; new ones if nobody holds any.
    pub(super) fn get_or_make(&self, labels: &[&str], make: impl FnOnce(&Subject, Ends) -> S) -> Arc<S> {
        let labels: Labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut live = lock(&self.0);
        if let Some(series) = live.get(&labels).and_then(Weak::upgrade) {
            return series;
        }
        let subject = Subject { labels: labels.clone(), removals: Arc::default() };
        let series = Arc::new(make(&subject, self.ends(&subject)));
        live.insert(labels, Arc::downgrade(&series));
        series
    }

    fn ends(&self, subject: &Subject) -> Ends {
        let (live, Subject { labels, removals }) = (Arc::clone(&self.0), subject.clone());
        Ends(Some(Box::new(move || {
            let mut live = lock(&live);
            // Somebody may have asked for them again since the last holder let go.
            if live.get(&labels).is_none_or(|series| series.strong_count() == 0) {
                live.remove(&labels);
                lock(&removals).drain(..).for_each(|remove| remove());
            }
        })))
    }
}

impl Subject {
    /// The subject's series in `all`.
    pub(super) fn of<T: MetricVecBuilder>(&self, all: &MetricVec<T>) -> T::M
    where
        MetricVec<T>: Send + Sync + 'static,
    {
        self.with(all, &[])
    }

    /// The same, with the values of more labels behind those of the subject.
    pub(super) fn with<T: MetricVecBuilder>(&self, all: &MetricVec<T>, more: &[&str]) -> T::M
    where
        MetricVec<T>: Send + Sync + 'static,
    {
        let labels: Labels = self.labels.iter().cloned().chain(more.iter().map(|label| (*label).to_owned())).collect();
        let series = all.with_label_values(&labels);
        let all = all.clone();
        lock(&self.removals).push(Box::new(move || drop(all.remove_label_values(&labels))));
        series
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
