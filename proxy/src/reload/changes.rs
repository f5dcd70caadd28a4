//! The differences between two generations.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::{Config, EndpointConf, EndpointUrl, Listener, UpstreamConf};
use crate::report::{Changes, PluginChange};
use crate::snapshot::Snapshot;
use crate::upstream::GuardedPolicy;

/// The settings of a listener that apply only at the start: its address, whether it speaks TLS and
/// HTTP/2, and whether its clients are named by the PROXY protocol.
type ListenerSettings = (SocketAddr, bool, bool, bool);

/// Settings that apply only at the start of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartSettings {
    listen: Vec<SocketAddr>,
    listeners: Vec<ListenerSettings>,
    threads: usize,
    admin: SocketAddr,
    max_instances: u32,
}

impl RestartSettings {
    /// The restart settings of `config`.
    pub fn of(config: &Config) -> Self {
        RestartSettings {
            listen: config.server.listen.clone(),
            listeners: config.server.listeners.iter().map(listener).collect(),
            threads: config.server.threads,
            admin: config.admin.listen,
            max_instances: config.plugins.max_instances,
        }
    }

    fn differences(&self, other: &Self) -> Vec<String> {
        let keys = [
            ("server.listen", self.listen != other.listen),
            ("server.listeners", self.listeners != other.listeners),
            ("server.threads", self.threads != other.threads),
            ("admin.listen", self.admin != other.admin),
            ("plugins.max_instances", self.max_instances != other.max_instances),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
    }
}

fn listener(of: &Listener) -> ListenerSettings {
    (of.address, of.tls.is_some(), of.http2, of.proxy_protocol)
}

/// Compares the replaced generation with the new one. `started` are the running process's settings.
pub fn compare(before: &Snapshot, after: &Snapshot, started: &RestartSettings) -> Changes {
    let (old, new) = (&before.config, &after.config);
    let mut changes = Changes {
        config_updated: old != new,
        client_rebuilt: new
            .upstreams
            .iter()
            .any(|(name, u)| old.upstreams.get(name).is_some_and(|o| o.client != u.client)),
        settings_updated: settings(old, new),
        certificates_changed: after.tls.changes_since(&before.tls),
        restart_required: started.differences(&RestartSettings::of(new)),
        ..Changes::default()
    };
    compare_endpoints(&endpoints(old), &endpoints(new), &mut changes);
    compare_policies(&before.policies, &after.policies, &mut changes);
    changes
}

/// `"prefix.key"` for each of these fields that differs.
macro_rules! differing {
    ($prefix:expr, $old:expr, $new:expr, $($field:ident),+ $(,)?) => {
        [$(($old.$field != $new.$field).then(|| format!("{}.{}", $prefix, stringify!($field)))),+].into_iter().flatten()
    };
}

/// The keys of changed settings, without those of endpoints and of added or removed upstreams.
fn settings(old: &Config, new: &Config) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    keys.extend(differing!("server", old.server, new.server, listen, listeners, threads, max_body, shutdown_grace));
    let (before, after) = (&old.server, &new.server);
    keys.extend(differing!(
        "server",
        before,
        after,
        max_connections,
        max_connections_per_address,
        max_buffered,
        express_lane,
        trusted_proxies,
    ));
    keys.extend((before.client_key_source != after.client_key_source).then(|| "server.client_key".to_owned()));
    keys.extend((before.client_key != after.client_key).then(|| "server.client_key_secret".to_owned()));
    keys.extend(differing!("admin", old.admin, new.admin, listen, token, hosts));
    let (before, after) = (&old.plugins, &new.plugins);
    keys.extend(differing!(
        "plugins",
        before,
        after,
        dir,
        cache_dir,
        trusted_keys,
        max_instances,
        watch,
        rollback_grace
    ));
    for (name, after) in &new.policies {
        let Some(before) = old.policies.get(name) else { continue };
        keys.extend(differing!(format!("policies.{name}"), before, after, plugin, version, sha256, fuel, config));
    }
    for (name, after) in &new.upstreams {
        keys.extend(old.upstreams.get(name).into_iter().flat_map(|before| upstream_settings(name, before, after)));
    }
    keys.extend((old.routes != new.routes).then(|| "routes".to_owned()));
    keys
}

fn upstream_settings(name: &str, old: &UpstreamConf, new: &UpstreamConf) -> Vec<String> {
    let prefix = format!("upstreams.{name}");
    let mut keys: Vec<String> = differing!(
        prefix,
        old,
        new,
        protocol,
        replay_buffer,
        chain,
        chain_id,
        read_methods,
        scoring,
        retry,
        shadow,
        canary,
        candidates,
        max_attempts,
        deadline,
        max_batch_size,
        max_concurrency,
        queue_timeout,
        policy_time_budget,
        exclude_outliers,
        retry_budget,
        latency_smoothing_factor,
        client,
        cooldown,
        health_check,
        websocket,
    )
    .collect();
    // A changed setting that isn't listed above: names at least its upstream.
    let same_endpoints = UpstreamConf { endpoints: new.endpoints.clone(), ..old.clone() };
    if keys.is_empty() && same_endpoints != *new {
        keys.push(prefix);
    }
    keys
}

/// The display name and conf of endpoints, by upstream and URL.
type Endpoints<'a> = BTreeMap<(&'a str, &'a EndpointUrl), (String, &'a EndpointConf)>;

fn endpoints(config: &Config) -> Endpoints<'_> {
    let several = config.upstreams.len() > 1;
    let shown = |upstream: &str, name: &str| if several { format!("{upstream}/{name}") } else { name.to_owned() };
    let all = config.upstreams.iter().flat_map(|(u, conf)| conf.endpoints.iter().map(move |e| (u.as_str(), e)));
    all.map(|(u, e)| ((u, &e.url), (shown(u, &e.name), e))).collect()
}

fn compare_endpoints(old: &Endpoints<'_>, new: &Endpoints<'_>, changes: &mut Changes) {
    for (key, (name, conf)) in new {
        match old.get(key) {
            None => changes.endpoints_added.push(name.clone()),
            Some((_, before)) if before != conf => changes.endpoints_modified.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
    changes.endpoints_removed = gone.map(|(_, (name, _))| name.clone()).collect();
}

fn compare_policies(
    old: &BTreeMap<String, GuardedPolicy>,
    new: &BTreeMap<String, GuardedPolicy>,
    changes: &mut Changes,
) {
    let shown = |bound: &GuardedPolicy| Some(bound.policy.identity().to_string());
    for (name, after) in new {
        match old.get(name) {
            None => {
                changes.plugins_added.push(PluginChange { policy: name.clone(), from: None, to: shown(after) });
            }
            Some(before) if before.policy.identity() != after.policy.identity() => {
                let change = PluginChange { policy: name.clone(), from: shown(before), to: shown(after) };
                changes.plugins_changed.push(change);
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    changes.plugins_removed =
        gone.map(|(name, before)| PluginChange { policy: name.clone(), from: shown(before), to: None }).collect();
}
