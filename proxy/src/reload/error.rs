//! Errors of reloads and rollbacks.

use std::path::PathBuf;

use thiserror::Error;

use super::Prepared;
use super::job::Stuck;
use crate::config::ConfigError;
use crate::policy::PluginError;
use crate::tls::TlsError;

/// Why there is no new generation. The message names the stage and the place.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The conf.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The plugin folder or a file in it.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A certificate, a key or an authority.
    #[error("{}: {error}", conf.display())]
    Tls {
        /// The conf file.
        conf: PathBuf,
        /// The file, and its problem.
        error: Box<TlsError>,
    },
    /// A policy of the conf.
    #[error("{}:{line}:{column}: policies.{policy}: {reason}", conf.display())]
    Policy {
        /// The conf file.
        conf: PathBuf,
        /// The line of the policy in the conf.
        line: usize,
        /// The column of the policy in the conf.
        column: usize,
        /// The policy.
        policy: String,
        /// The problem.
        reason: String,
    },
    /// A rollback without a previous generation.
    #[error("there is no previous generation to roll back to: no reload since the start has changed anything")]
    NoPrevious,
    /// A stage exceeded its time limit, or panicked.
    #[error("the preparation {how} in stage \"{stage}\"{advice}")]
    Stuck {
        /// The stage.
        stage: String,
        /// How it ended.
        how: String,
        /// Advice for the operator.
        advice: &'static str,
    },
    /// The previous generation can't serve again.
    #[error("generation {generation} can't serve again: {error}")]
    Previous {
        /// The generation.
        generation: u64,
        /// The reason; its place refers to the conf of that generation.
        error: Box<ReloadError>,
    },
}

impl ReloadError {
    pub(super) fn given_up(stage: String) -> Self {
        let advice =
            "; is a file or folder on a file system that doesn't answer? Until it ends nothing else is prepared";
        ReloadError::Stuck { stage, how: "took too long and was given up".into(), advice }
    }

    pub(super) fn still_stuck(stuck: &Stuck<Prepared>) -> Self {
        let (stage, lasted) = stuck.doing();
        let how = format!("of an earlier reload still hangs, for {:.0} s,", lasted.as_secs_f64());
        ReloadError::Stuck { stage, how, advice: "; nothing else is prepared until it ends" }
    }

    pub(super) fn panicked(stage: String) -> Self {
        ReloadError::Stuck { stage, how: "panicked".into(), advice: "; the log has the panic's message" }
    }

    pub(super) fn no_thread(error: &std::io::Error) -> Self {
        ReloadError::Stuck { stage: "begin".into(), how: format!("got no thread ({error})"), advice: "" }
    }
}
