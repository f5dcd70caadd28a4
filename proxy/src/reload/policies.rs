//! The policies of a new generation: unchanged ones are reused with their instances, the others are
//! loaded.

use std::collections::BTreeMap;

use super::{GenerationBuilder, ReloadError};
use crate::config::{Config, PolicyConf, UpstreamConf};
use crate::policy::{Digest, Fault, Kinds, PluginError, Setup};
use crate::progress::Progress;
use crate::snapshot::Parts;
use crate::upstream::GuardedPolicy;

impl GenerationBuilder {
    /// Matches, configures and probes every policy of the conf.
    pub(super) fn load_policies(
        &self,
        parts: &Parts,
        loaded: &BTreeMap<String, GuardedPolicy>,
        progress: &Progress,
    ) -> Result<BTreeMap<String, GuardedPolicy>, ReloadError> {
        let mut policies = BTreeMap::new();
        for (name, wanted) in &parts.config.policies {
            progress.enter(format!("instantiate and probe policy {name}"));
            let refuse = |reason: String| ReloadError::Policy {
                conf: self.conf.clone(),
                line: wanted.place.line,
                column: wanted.place.column,
                policy: name.clone(),
                reason,
            };
            let policy =
                self.load_policy(name, wanted, parts, loaded.get(name)).map_err(|error| refuse(error.to_string()))?;
            check_kinds(name, policy.policy.kinds(), &parts.config).map_err(refuse)?;
            policies.insert(name.clone(), policy);
        }
        Ok(policies)
    }

    fn load_policy(
        &self,
        name: &str,
        wanted: &PolicyConf,
        Parts { config, catalog, .. }: &Parts,
        loaded: Option<&GuardedPolicy>,
    ) -> Result<GuardedPolicy, PluginError> {
        let plugin = catalog.find(&wanted.plugin, &wanted.version, wanted.sha256.map(Digest))?;
        let (settings, rows) = (wanted.config.to_string(), rows(config, name));
        let setup = Setup { config: &settings, fuel: wanted.fuel, rows };
        match loaded.filter(|bound| bound.policy.is_same(&plugin, &setup)) {
            Some(same) if same.policy.has_room(rows) => Ok(same.clone()),
            Some(same) => Ok(same.with(self.runtime.load(name, plugin, &setup)?)),
            None => {
                let policy = self.runtime.load(name, plugin, &setup)?;
                Ok(GuardedPolicy::new(policy, self.resources.metrics.policy(name, &Fault::KINDS)))
            }
        }
    }
}

/// The largest number of endpoints that the policy must score.
fn rows(config: &Config, policy: &str) -> usize {
    let scored =
        config.upstreams.values().filter(|u| [u.scoring.as_deref(), shadow(u), canary(u)].contains(&Some(policy)));
    scored.map(|u| u.endpoints.len().min(u.candidates)).max().unwrap_or(0)
}

fn shadow(upstream: &UpstreamConf) -> Option<&str> {
    upstream.shadow.as_ref().map(|shadow| shadow.policy.as_str())
}

/// A canary may be of either kind.
fn canary(upstream: &UpstreamConf) -> Option<&str> {
    upstream.canary.as_ref().map(|canary| canary.policy.as_str())
}

fn check_kinds(policy: &str, kinds: Kinds, config: &Config) -> Result<(), String> {
    let used = |by: fn(&UpstreamConf) -> Option<&str>| config.upstreams.values().find(|u| by(u) == Some(policy));
    let complain = |upstream: &UpstreamConf, key: &str, kind: &str| {
        Err(format!("upstreams.{}.{key} names it, but its plugin is no {kind} policy", upstream.name))
    };
    match (used(|u| u.scoring.as_deref()), used(shadow), used(|u| u.retry.as_deref())) {
        (Some(upstream), _, _) if !kinds.scoring => complain(upstream, "scoring", "scoring"),
        (_, Some(upstream), _) if !kinds.scoring => complain(upstream, "shadow", "scoring"),
        (_, _, Some(upstream)) if !kinds.retry => complain(upstream, "retry", "retry"),
        _ => Ok(()),
    }
}
