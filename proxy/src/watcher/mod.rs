//! Watches the plugin folder, where `plugins.watch` says so, and asks for a reload when modules
//! come, go or change.
//!
//! Events only say when to look. Whether there is something new is said by the fingerprint of the
//! folder, compared with what the serving generation was made from or what a reload was asked for
//! last. So nothing is missed between the scan of a reload and the beginning of a watch, a burst is
//! one reload, a module that was refused is not tried again until it changes, and what another
//! reload has taken already is not taken twice.
//!
//! Once a second, and only with `plugins.watch`, the folder itself is looked at: one that vanished,
//! came back, or was replaced (by switching a link, which makes no event) is watched anew.

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

/// The pause before a folder that can't be watched is tried again, and how late it is noticed that
/// one was replaced.
const PERIOD: Duration = Duration::from_secs(1);

/// The background task.
pub struct PluginWatcher {
    /// The generations.
    pub published: Arc<Published>,
    /// Asks for a reload.
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

/// What is watched, and what is known of it.
struct Watch {
    /// What the conf wants watched.
    wanted: Option<PathBuf>,
    /// What is watched; `None` while it can't be.
    folder: Option<WatchedFolder>,
    /// That it can't be watched was told.
    troubled: bool,
    /// What needs no further reload.
    known: FolderFingerprint,
    burst: Burst,
    touched: Arc<Notify>,
}

impl Watch {
    fn new(touched: Arc<Notify>) -> Self {
        let (known, burst) = (FolderFingerprint::default(), Burst::default());
        Watch { wanted: None, folder: None, troubled: false, known, burst, touched }
    }

    /// Watches what the conf of a new generation says.
    fn follow(&mut self, snapshot: &Snapshot) {
        let plugins = &snapshot.config.plugins;
        let wanted = plugins.watch.then(|| plugins.dir.clone());
        self.known = snapshot.fingerprint.clone();
        if self.wanted != wanted {
            *self = Watch { wanted, known: snapshot.fingerprint.clone(), ..Watch::new(Arc::clone(&self.touched)) };
            self.begin();
        }
    }

    /// Begins anew if the folder isn't the one that is watched.
    fn keep_up(&mut self) {
        if !self.folder.as_ref().is_some_and(WatchedFolder::is_in_place) {
            self.begin();
        }
    }

    fn begin(&mut self) {
        // A watch of what isn't there any more would only take up room.
        self.folder = None;
        let Some(dir) = &self.wanted else { return };
        match WatchedFolder::watch(dir, Arc::clone(&self.touched)) {
            Ok(folder) => {
                tracing::info!(dir = %dir.display(), "watching the plugin folder");
                (self.folder, self.troubled) = (Some(folder), false);
                // For what changed before.
                self.burst.touch(clock::now());
            }
            Err(error) if !self.troubled => {
                self.troubled = true;
                tracing::warn!(dir = %dir.display(), "the plugin folder can't be watched, and is tried again: {error}");
            }
            Err(_) => {}
        }
    }

    /// Ends the burst. Tells whether it left anything new.
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
