//! The reasons for a new generation.

use super::guard::CanaryDecision;

/// The reason for a new generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// A request for the files on disk.
    Reload,
    /// A request for the previous generation.
    Rollback,
    /// Canaries to take out or promote.
    Canaries(Vec<CanaryDecision>),
    /// This policy was quarantined soon after the reload that introduced it.
    Quarantine(String),
}

impl Trigger {
    /// The generation's cause for `/status`. `previous` is the generation that a rollback returns
    /// to.
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

    /// The action, for messages.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Trigger::Reload => "reload",
            Trigger::Rollback | Trigger::Quarantine(_) => "rollback",
            Trigger::Canaries(_) => "change of a canary",
        }
    }

    /// The completed action, for the log.
    pub(super) fn done(&self) -> &'static str {
        match self {
            Trigger::Reload => "reloaded",
            Trigger::Rollback | Trigger::Quarantine(_) => "rolled back",
            Trigger::Canaries(_) => "canaries changed",
        }
    }

    /// The effect of a rollback to the generation before this one, and how to reverse it.
    pub(super) fn undone(&self) -> &'static str {
        match self {
            Trigger::Reload => "the conf on disk is still the newer one; a reload takes it again",
            Trigger::Rollback | Trigger::Quarantine(_) => "this undoes a rollback; a reload takes the conf on disk",
            Trigger::Canaries(_) => {
                "this undoes a promotion; the canary is out until its policy or its settings change"
            }
        }
    }

    /// Whether a client requested it and gets the report.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(self, Trigger::Reload | Trigger::Rollback)
    }
}
