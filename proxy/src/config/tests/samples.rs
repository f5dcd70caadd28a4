//! Confs in files: the shipped ones, and secrets in files.

use std::path::{Path, PathBuf};

use super::super::*;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf")
}

#[test]
fn every_shipped_conf_loads() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shipped()).unwrap() {
        let path = entry.unwrap().path();
        load(&path).unwrap_or_else(|error| panic!("{error}"));
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    for expected in ["http.toml", "minimal.toml", "pointsman.toml", "tls.toml", "two-upstreams.toml"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:?}");
    }
}

/// The health check in the sample's comments is the default one.
#[test]
fn the_health_check_that_the_sample_shows_is_good() {
    let path = shipped().join("pointsman.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("# [upstreams.ethereum.health_check]").unwrap();
    let (section, after) = rest.split_once("\n\n").unwrap();
    let section = section.replace("\n# ", "\n");
    let shown = format!("{before}[upstreams.ethereum.health_check]{section}\n\n{after}");
    let check = parse(&shown, &path, &|_| None).unwrap().upstreams["ethereum"].health_check.clone();
    let least = "[upstreams.e]\nhealth_check = { method = 'eth_blockNumber' }\nendpoints = [{ url = 'http://h' }]";
    let least = parse(least, &path, &|_| None).unwrap().upstreams["e"].health_check.clone();
    assert_eq!(check, least);
}

/// The defaults in the sample's comments change nothing when they are uncommented.
#[test]
fn the_defaults_that_the_sample_shows_are_the_defaults() {
    let path = shipped().join("pointsman.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let keys = [
        "protocol",
        "version",
        "chain",
        "read_methods",
        "accept_any_content_type",
        "retry_budget",
        "queue_timeout",
        "policy_time_budget",
        "exclude_outliers",
        "jitter",
    ];
    let shown = keys.iter().fold(text, |text, key| {
        let shown = text.replace(&format!("# {key} ="), &format!("{key} ="));
        assert_ne!(text, shown, "{key} is not shown");
        shown
    });
    assert_eq!(parse(&shown, &path, &|_| None).unwrap(), load(&path).unwrap());
    let sample = load(&path).unwrap();
    let defaults = load(&shipped().join("minimal.toml")).unwrap();
    let (sample_upstream, default_upstream) = (&sample.upstreams["ethereum"], &defaults.upstreams["ethereum"]);
    assert_eq!((&sample.server, &sample.admin), (&defaults.server, &defaults.admin));
    assert_eq!(sample_upstream.client, default_upstream.client);
    assert_eq!(sample_upstream.cooldown, default_upstream.cooldown);
    assert_eq!(sample_upstream.deadline, default_upstream.deadline);
}

#[test]
fn paths_start_from_the_folder_of_the_conf() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    std::fs::write(folder.path().join("keys/url"), "https://h.example.com/from-file\r\n").unwrap();
    std::fs::write(folder.path().join("keys/token"), "from-file\n").unwrap();
    let conf = folder.path().join("a.toml");
    let text = "[[upstreams.e.endpoints]]\nurl = 'file:keys/url'\n[admin]\ntoken = 'file:keys/token'\n";
    std::fs::write(&conf, text).unwrap();
    let config = load(&conf).unwrap();
    assert_eq!(config.upstreams["e"].endpoints[0].url.canonical(), "https://h.example.com/from-file");
    assert_eq!(config.admin.token.unwrap().expose(), "from-file");
    assert_eq!(config.plugins.dir, folder.path().join("plugins"));
}

#[test]
fn a_file_that_is_too_large_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("a.toml");
    for (size, accepted) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        std::fs::write(folder.path().join("token"), "t".repeat(size)).unwrap();
        std::fs::write(&conf, "[[upstreams.e.endpoints]]\nurl = 'http://h'\n[admin]\ntoken = 'file:token'\n").unwrap();
        assert_eq!(load(&conf).is_ok(), accepted, "{size}");
    }
}

#[test]
fn a_conf_that_is_not_utf8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("a.toml");
    std::fs::write(&conf, b"a = '\xff'").unwrap();
    assert!(matches!(load(&conf), Err(ConfigError::Read { .. })));
}
