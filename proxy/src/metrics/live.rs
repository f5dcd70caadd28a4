//! Series that are shared while they have holders, and end with the last one.
//!
//! Invariant: the series of a subject (an upstream, an endpoint, a policy) end together, and a late
//! count doesn't bring them back, because counting uses existing handles only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::core::{MetricVec, MetricVecBuilder};

/// The label values of a subject.
type Labels = Vec<String>;
type Removal = Box<dyn FnOnce() + Send + Sync>;

/// The held series of all subjects of a kind.
pub(super) struct Live<S>(Arc<Mutex<HashMap<Labels, Entry<S>>>>);

/// The removals belong to the labels: a subject that comes back before the old one has ended takes
/// them over.
struct Entry<S> {
    series: Weak<S>,
    removals: Arc<Mutex<Vec<Removal>>>,
}

/// Makes the series of one subject, and records how to remove them.
#[derive(Clone)]
pub(super) struct Subject {
    labels: Labels,
    removals: Arc<Mutex<Vec<Removal>>>,
}

/// Removes the series of a subject on drop. It is part of the shared handles.
pub(super) struct Ends(Option<Removal>);

impl<S> Default for Live<S> {
    fn default() -> Self {
        Live(Arc::default())
    }
}

impl<S: Send + Sync + 'static> Live<S> {
    /// The series of the subject with these labels, new ones if none are held.
    pub(super) fn get_or_make(&self, labels: &[&str], make: impl FnOnce(&Subject, Ends) -> S) -> Arc<S> {
        let labels: Labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut live = lock(&self.0);
        let known = live.get(&labels);
        if let Some(series) = known.and_then(|entry| entry.series.upgrade()) {
            return series;
        }
        let removals = known.map(|entry| Arc::clone(&entry.removals)).unwrap_or_default();
        let subject = Subject { labels: labels.clone(), removals: Arc::clone(&removals) };
        let series = Arc::new(make(&subject, self.ends(&subject)));
        live.insert(labels, Entry { series: Arc::downgrade(&series), removals });
        series
    }

    fn ends(&self, subject: &Subject) -> Ends {
        let (live, Subject { labels, removals }) = (Arc::clone(&self.0), subject.clone());
        Ends(Some(Box::new(move || {
            let mut live = lock(&live);
            // A new holder may have requested them since the last one let go.
            if live.get(&labels).is_none_or(|entry| entry.series.strong_count() == 0) {
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

    /// The same, with the values of more labels appended to the subject's.
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
