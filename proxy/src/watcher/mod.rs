//! Watches the plugin folder, if `plugins.watch` is set, and requests a reload when modules are
//! added, removed or changed.
//!
//! Events only trigger a check. The check compares the folder's fingerprint with that of the
//! serving generation, or of the latest requested reload. So no change between a reload's scan and
//! the start of a watch is missed, a burst is one reload, a refused module isn't retried until it
//! changes, and changes that another reload has taken aren't taken twice.
//!
//! Once a second, and only with `plugins.watch`, the folder itself is checked: one that vanished,
//! came back, or was replaced (by switching a link, which causes no event) is watched anew.

mod burst;
mod folder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use self::burst::Burst;
use self::folder::WatchedFolder;
use crate::clock;
use crate::fingerprint::FolderFingerprint;
use crate::snapshot::{Published, Snapshot};

/// The pause before watching is retried, and the longest delay until a replaced folder is noticed.
const PERIOD: Duration = Duration::from_secs(1);

/// The background task.
pub struct PluginWatcher {
    /// The published generations.
    pub published: Arc<Published>,
    /// Requests a reload.
    pub reload: Box<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl BackgroundService for PluginWatcher {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl PluginWatcher {
    /// Watches until it is dropped.
    async fn run(&self) {
        let mut generations = self.published.subscribe();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let touched = Arc::new(Notify::new());
        let mut watch = Watch::new(Arc::clone(&touched));
        watch.follow(&self.published.load());
        loop {
            tokio::select! {
                // The sender lives as long as `self`.
                _ = generations.changed() => watch.follow(&self.published.load()),
                () = touched.notified() => watch.burst.touch(clock::now()),
                () = clock::sleep_until(watch.burst.over_at()) => {
                    if watch.finds_change() {
                        (self.reload)();
                    }
                }
                _ = ticks.tick(), if watch.wanted.is_some() => watch.keep_up(),
            }
        }
    }
}

/// The state of the watch.
struct Watch {
    /// The folder that the conf wants watched.
    wanted: Option<PathBuf>,
    /// The watched folder; `None` while it can't be watched.
    folder: Option<WatchedFolder>,
    /// Whether the failure to watch was logged.
    troubled: bool,
    /// The latest state that needs no further reload.
    known: FolderFingerprint,
    burst: Burst,
    touched: Arc<Notify>,
}

impl Watch {
    fn new(touched: Arc<Notify>) -> Self {
        let (known, burst) = (FolderFingerprint::default(), Burst::default());
        Watch { wanted: None, folder: None, troubled: false, known, burst, touched }
    }

    /// Adopts the settings of a new generation.
    fn follow(&mut self, snapshot: &Snapshot) {
        let plugins = &snapshot.config.plugins;
        let wanted = plugins.watch.then(|| plugins.dir.clone());
        self.known = snapshot.fingerprint.clone();
        if self.wanted != wanted {
            *self = Watch { wanted, known: snapshot.fingerprint.clone(), ..Watch::new(Arc::clone(&self.touched)) };
            self.begin();
        }
    }

    /// Starts a new watch if another folder is at the path.
    fn keep_up(&mut self) {
        if !self.folder.as_ref().is_some_and(WatchedFolder::is_in_place) {
            self.begin();
        }
    }

    fn begin(&mut self) {
        // A watch of a folder that is gone would only waste resources.
        self.folder = None;
        let Some(dir) = &self.wanted else { return };
        match WatchedFolder::watch(dir, Arc::clone(&self.touched)) {
            Ok(folder) => {
                tracing::info!(dir = %dir.display(), "watching the plugin folder");
                (self.folder, self.troubled) = (Some(folder), false);
                // Covers changes before the watch.
                self.burst.touch(clock::now());
            }
            Err(error) if !self.troubled => {
                self.troubled = true;
                tracing::warn!(dir = %dir.display(), "the plugin folder can't be watched, and is tried again: {error}");
            }
            Err(_) => {}
        }
    }

    /// Ends the burst. Returns whether the folder has changed.
    fn finds_change(&mut self) -> bool {
        self.burst = Burst::default();
        let Some(dir) = &self.wanted else { return false };
        let found = FolderFingerprint::read(dir);
        let is_new = found != self.known;
        self.known = found;
        if !is_new {
            tracing::debug!(dir = %dir.display(), "the modules in the plugin folder are the same");
        }
        is_new
    }
}
