//! Reports of reloads and rollbacks: the response to `POST /reload` and `POST /rollback`, the
//! log's, and the commands' output.

use serde::{Deserialize, Serialize};

/// The result of one reload or rollback.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether a new generation serves.
    pub success: bool,
    /// One readable line.
    pub message: String,
    /// The reason of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The serving generation.
    pub generation: u64,
    /// Problems of files in the plugin folder that no policy needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The differences from the previous generation.
    pub changes: Changes,
    /// A rollback was requested without a generation to return to. Not part of the response.
    #[serde(skip)]
    pub nothing_kept: bool,
    /// The request failed because a preparation hangs.
    #[serde(skip)]
    pub stuck: bool,
}

/// A preparation in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its stage.
    pub stage: String,
    /// How long the stage has lasted.
    pub seconds: f64,
    /// It exceeded its time limit: its result is dropped, and no other one begins until it ends.
    pub stuck: bool,
}

/// The difference between two generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Names of endpoints with a new URL; with several upstreams as `upstream/endpoint`.
    pub endpoints_added: Vec<String>,
    /// Names of endpoints whose URL is gone.
    pub endpoints_removed: Vec<String>,
    /// Names of endpoints with a changed setting.
    pub endpoints_modified: Vec<String>,
    /// New policies.
    pub plugins_added: Vec<PluginChange>,
    /// Removed policies.
    pub plugins_removed: Vec<PluginChange>,
    /// Policies with a different module.
    pub plugins_changed: Vec<PluginChange>,
    /// New contents of certificate files, as `listener/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates_changed: Vec<String>,
    /// Whether anything in the conf changed.
    pub config_updated: bool,
    /// The keys of changed settings, such as `upstreams.ethereum.deadline`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_updated: Vec<String>,
    /// Whether a client setting changed, which replaces all connections.
    pub client_rebuilt: bool,
    /// Settings that differ from the running process's, and need a restart.
    pub restart_required: Vec<String>,
}

/// A policy's module before and after, as `version@sha256:digest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginChange {
    /// The policy's name in the conf.
    pub policy: String,
    /// The previous module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Changes {
    /// Whether endpoints, policies, certificates or settings changed.
    pub fn is_any(&self) -> bool {
        // Endpoints are part of the conf; settings that need a restart don't count by themselves.
        self.config_updated
            || !self.certificates_changed.is_empty()
            || [&self.plugins_added, &self.plugins_removed, &self.plugins_changed].iter().any(|list| !list.is_empty())
    }

    /// One readable line.
    pub fn summary(&self) -> String {
        let counted = [
            ("endpoint added", self.endpoints_added.len()),
            ("endpoint removed", self.endpoints_removed.len()),
            ("endpoint modified", self.endpoints_modified.len()),
            ("policy added", self.plugins_added.len()),
            ("policy removed", self.plugins_removed.len()),
            ("policy changed", self.plugins_changed.len()),
            ("certificate changed", self.certificates_changed.len()),
            ("setting waits for a restart", self.restart_required.len()),
        ];
        let mut parts: Vec<String> =
            counted.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| plural(what, n)).collect();
        if !self.settings_updated.is_empty() {
            parts.push(format!("settings updated: {}", listed(&self.settings_updated)));
        }
        if parts.is_empty() {
            parts.push(if self.config_updated { "settings updated" } else { "nothing changed" }.into());
        }
        parts.join(", ")
    }
}

/// The most keys in a line; the report has all of them.
const LISTED: usize = 8;

fn listed(keys: &[String]) -> String {
    let shown = keys[..keys.len().min(LISTED)].join(", ");
    if keys.len() > LISTED { format!("{shown} and {} more", keys.len() - LISTED) } else { shown }
}

fn plural(what: &str, n: usize) -> String {
    match (n, what.split_once(' ')) {
        (1, _) | (_, None) => format!("{n} {what}"),
        (_, Some(("policy", rest))) => format!("{n} policies {rest}"),
        (_, Some(("setting", _))) => format!("{n} settings wait for a restart"),
        (_, Some((noun, rest))) => format!("{n} {noun}s {rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_there_is() {
        assert_eq!(Changes::default().summary(), "nothing changed");
        let change = PluginChange { policy: "a".into(), from: None, to: None };
        let changes = Changes {
            endpoints_added: vec!["a".into()],
            endpoints_removed: vec!["b".into(), "c".into()],
            plugins_changed: vec![change.clone(), change],
            restart_required: vec!["server.listen".into()],
            ..Changes::default()
        };
        assert_eq!(
            changes.summary(),
            "1 endpoint added, 2 endpoints removed, 2 policies changed, 1 setting waits for a restart"
        );
    }
}
