//! The reasons for a new generation.

use super::guard::CanaryDecision;

/// The reason for a new generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// Somebody asked for what is on disk.
    Reload,
    /// Somebody asked for the generation before.
    Rollback,
    /// Canaries did harm, or have proved themselves.
    Canaries(Vec<CanaryDecision>),
    /// This policy was quarantined soon after the reload that brought it.
    Quarantine(String),
}

impl Trigger {
    /// The generation's cause, as `/status` shows it. `previous`: the generation that a rollback
    /// goes back to.
    pub(super) fn cause(&self, previous: u64) -> String {
        match self {
            Trigger::Reload => "reload".to_owned(),
            Trigger::Rollback => format!("rollback to generation {previous}"),
            Trigger::Canaries(decisions) => decisions.iter().map(CanaryDecision::text).collect::<Vec<_>>().join("; "),
            Trigger::Quarantine(policy) => {
                format!("policy {policy} was quarantined soon after the reload: rolled back to generation {previous}")
            }
        }
    }

    /// What is being done, for messages.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Trigger::Reload => "reload",
            Trigger::Rollback | Trigger::Quarantine(_) => "rollback",
            Trigger::Canaries(_) => "change of a canary",
        }
    }

    /// What was done, for the log.
    pub(super) fn done(&self) -> &'static str {
        match self {
            Trigger::Reload => "reloaded",
            Trigger::Rollback | Trigger::Quarantine(_) => "rolled back",
            Trigger::Canaries(_) => "canaries changed",
        }
    }

    /// What a rollback to the generation before this one would undo, and how to have it again.
    pub(super) fn undone(&self) -> &'static str {
        match self {
            Trigger::Reload => "the conf on disk is still the newer one; a reload takes it again",
            Trigger::Rollback | Trigger::Quarantine(_) => "this undoes a rollback; a reload takes the conf on disk",
            Trigger::Canaries(_) => {
                "this undoes a promotion; the canary is out until its policy or its settings change"
            }
        }
    }

    /// Whether somebody waits for the report.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(self, Trigger::Reload | Trigger::Rollback)
    }
}
