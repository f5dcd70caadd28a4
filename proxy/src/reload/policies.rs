//! The policies of a new generation: those that stay are taken over with their instances, the others are loaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::ReloadError;
use crate::config::{Config, PolicyConf, UpstreamConf};
use crate::policy::{Catalog, Digest, Fault, Kinds, PluginError, PolicyRuntime, Setup};
use crate::progress::Progress;
use crate::snapshot::Parts;
use crate::upstream::{GuardedPolicy, Resources};

/// Matches, configures and probes every policy of the conf.
pub(super) fn load(
    conf: &Path,
    Parts { config, catalog, .. }: &Parts,
    loaded: &BTreeMap<String, GuardedPolicy>,
    runtime: &PolicyRuntime,
    resources: &Resources,
    progress: &Progress,
) -> Result<BTreeMap<String, GuardedPolicy>, ReloadError> {
    let mut policies = BTreeMap::new();
    for (name, wanted) in &config.policies {
        progress.enter(format!("instantiate and probe policy {name}"));
        let refuse = |reason: String| ReloadError::Policy {
            conf: conf.to_owned(),
            line: wanted.place.line,
            column: wanted.place.column,
            policy: name.clone(),
            reason,
        };
        let policy = load_one(name, wanted, rows(config, name), catalog, loaded.get(name), runtime, resources)
            .map_err(|error| refuse(error.to_string()))?;
        check_kinds(name, policy.policy.kinds(), config).map_err(refuse)?;
        policies.insert(name.clone(), policy);
    }
    Ok(policies)
}

fn load_one(
    name: &str,
    wanted: &PolicyConf,
    rows: usize,
    catalog: &Catalog,
    loaded: Option<&GuardedPolicy>,
    runtime: &PolicyRuntime,
    resources: &Resources,
) -> Result<GuardedPolicy, PluginError> {
    let plugin = catalog.find(&wanted.plugin, &wanted.version, wanted.sha256.map(Digest))?;
    let config = wanted.config.to_string();
    let setup = Setup { config: &config, fuel: wanted.fuel, rows };
    match loaded.filter(|bound| bound.policy.is_same(&plugin, &setup)) {
        Some(same) if same.policy.has_room(rows) => Ok(same.clone()),
        Some(same) => Ok(same.with(runtime.load(name, plugin, &setup)?)),
        None => {
            let policy = runtime.load(name, plugin, &setup)?;
            Ok(GuardedPolicy::new(policy, Arc::new(resources.metrics.policy(name, &Fault::KINDS))))
        }
    }
}

/// The most endpoints that the policy may have to score.
fn rows(config: &Config, policy: &str) -> usize {
    let scored =
        config.upstreams.values().filter(|u| [u.scoring.as_deref(), shadow(u), canary(u)].contains(&Some(policy)));
    scored.map(|u| u.endpoints.len().min(u.candidates)).max().unwrap_or(0)
}

fn shadow(upstream: &UpstreamConf) -> Option<&str> {
    upstream.shadow.as_ref().map(|shadow| shadow.policy.as_str())
}

/// It may be of either kind.
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
