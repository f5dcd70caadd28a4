//! Pointsman: a shipped scoring policy and `json-rpc-retry`.

use std::path::PathBuf;

use super::Setting;

pub const ARGUMENTS: &[&str] = &["--config"];

/// What was built with this benchmark, unless `POINTSMAN_BIN` names another.
pub fn binary() -> PathBuf {
    std::env::var_os("POINTSMAN_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pointsman")), PathBuf::from)
}

pub fn conf(setting: &Setting) -> String {
    let Setting { listen, admin, scoring, .. } = setting;
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist");
    let (policy, chosen) = match scoring.as_str() {
        "none" => (String::new(), String::new()),
        plugin => (format!("[policies.scoring]\nplugin = '{plugin}'\n"), "scoring = 'scoring'\n".to_owned()),
    };
    let keys = [("max_attempts", "4"), ("deadline", "'10s'")];
    let mut upstream = setting.upstream.clone();
    for (key, value) in keys {
        // What the command line sets comes instead.
        if !upstream.iter().any(|line| line.split('=').next().is_some_and(|known| known.trim() == key)) {
            upstream.push(format!("{key} = {value}"));
        }
    }
    let upstream = upstream.join("\n");
    let endpoints = setting.origins.iter().map(|origin| {
        format!("[[upstreams.main.endpoints]]\nurl = 'http://{origin}'\nname = '{}'\nweight = 100\n", origin.port())
    });
    format!(
        "[server]\nlisten = ['{listen}']\nthreads = 2\nshutdown_grace = '1s'\n\
         [admin]\nlisten = '{admin}'\n\
         [plugins]\ndir = '{plugins}'\n\
         {policy}[policies.retry]\nplugin = 'json-rpc-retry'\n\
         [upstreams.main]\n{chosen}retry = 'retry'\n{upstream}\n\
         [upstreams.main.client]\nconnect_timeout = '500ms'\ntimeout = '1s'\n\
         [upstreams.main.cooldown]\nbase = '1s'\nmax = '10s'\n{}",
        endpoints.collect::<String>()
    )
}
