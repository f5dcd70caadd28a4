//! Pointsman: a shipped scoring policy and `json-rpc-retry`.

use super::{Setting, THREADS, peers};

pub fn conf(setting: &Setting<'_>) -> String {
    let plugins = peers::pointsman::PLUGINS;
    let [listen, admin] = [setting.site.addresses[0], setting.site.addresses[1]];
    let (policy, chosen) = match setting.options.scoring.as_str() {
        "none" => (String::new(), String::new()),
        plugin => (format!("[policies.scoring]\nplugin = '{plugin}'\n"), "scoring = 'scoring'\n".to_owned()),
    };
    let keys = [("max_attempts", "4"), ("deadline", "'10s'")];
    let mut upstream = setting.options.upstream.clone();
    for (key, value) in keys {
        // The command line overrides these.
        if !upstream.iter().any(|line| line.split('=').next().is_some_and(|known| known.trim() == key)) {
            upstream.push(format!("{key} = {value}"));
        }
    }
    let upstream = upstream.join("\n");
    let endpoints = setting.origins.iter().map(|origin| {
        format!("[[upstreams.main.endpoints]]\nurl = 'http://{origin}'\nname = '{}'\nweight = 100\n", origin.port())
    });
    format!(
        "[server]\nlisten = ['{listen}']\nthreads = {THREADS}\nshutdown_grace = '1s'\n\
         [admin]\nlisten = '{admin}'\n\
         [plugins]\ndir = '{plugins}'\n\
         {policy}[policies.retry]\nplugin = 'json-rpc-retry'\n\
         [upstreams.main]\n{chosen}retry = 'retry'\n{upstream}\n\
         [upstreams.main.client]\nconnect_timeout = '500ms'\ntimeout = '1s'\n\
         [upstreams.main.cooldown]\nbase = '1s'\nmax = '10s'\n{}",
        endpoints.collect::<String>()
    )
}
