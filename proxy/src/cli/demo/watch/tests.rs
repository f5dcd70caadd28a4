use super::*;

fn upstream(attempts: &[(&str, u64, u64)]) -> UpstreamStatus {
    let endpoints = attempts.iter().map(|(name, good, bad)| {
        serde_json::json!({
            "name": name, "weight": 20, "available": true, "cooldown_seconds": 0.0, "latency_ms": 5.0,
            "penalty_ms": 0.0, "success_rate": 1.0, "consecutive_failures": 0, "in_flight": 0,
            "idle_connections": 1, "limiter_headroom": 1.0, "resolved": true,
            "attempts": { "success": good, "http_error": bad, "canceled": 1 },
        })
    });
    let endpoints: Vec<_> = endpoints.collect();
    serde_json::from_value(serde_json::json!({
        "scoring": "routing", "retry": "native", "in_flight": 0, "endpoints": endpoints,
    }))
    .unwrap()
}

#[test]
fn shares_are_of_what_happened_lately() {
    let before = counts(&upstream(&[("a", 1_000, 0), ("b", 0, 0)]));
    let rows = rows(&upstream(&[("a", 1_010, 10), ("b", 60, 0)]), &before);
    let shown: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.share, row.failed)).collect();
    assert_eq!(shown, [("a", 0.25, Some(0.5)), ("b", 0.75, Some(0.0))]);
}

#[test]
fn a_new_endpoint_has_no_share_of_failures() {
    let status = upstream(&[("a", 10, 0)]);
    let before = counts(&status);
    assert_eq!(rows(&status, &before)[0].failed, None);
}

#[test]
fn a_reload_is_told_in_one_line() {
    let changes = Changes {
        endpoints_added: vec!["new".into()],
        plugins_changed: vec![crate::report::PluginChange {
            policy: "routing".into(),
            from: Some("0.1.0@sha256:0123456789abcdef".into()),
            to: Some("0.2.0@sha256:fedcba9876543210".into()),
        }],
        ..Changes::default()
    };
    let changes = serde_json::to_string(&changes).unwrap();
    let line = format!(
        "2026-11-23T11:05:17.123456Z  INFO pointsman::reload: reloaded generation=2 ms=3.14 changes={changes}\nnext"
    );
    assert_eq!(
        news(&line),
        "11:05:17 generation 2 in 3.1 ms: 1 endpoint added, 1 policy changed; \
         routing 0.1.0@0123456789ab -> 0.2.0@fedcba987654; +new"
    );
    let back = line.replace("reloaded", "rolled back");
    assert!(
        news(&back).starts_with("11:05:17 rolled back: generation 2 in 3.1 ms: 1 endpoint added"),
        "{}",
        news(&back)
    );
}

#[test]
fn a_refusal_is_shown_with_its_reason() {
    let line =
        "2026-11-23T11:05:17.123456Z ERROR pointsman::reload: reload refused: conf:1:1: no generation=2 ms=0.5\n";
    assert_eq!(news(line), "11:05:17 reload refused: conf:1:1: no");
}

#[test]
fn the_log_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut tail = LogTail { path: path.clone(), offset: 0, last: None };
    assert_eq!(tail.last_reload(), None);
    let prefix = "2026-11-23T11:05:17.123456Z  INFO pointsman::reload:";
    std::fs::write(&path, format!("one\n{prefix} first\ntwo\n{prefix} sec")).unwrap();
    assert_eq!(tail.last_reload(), Some("11:05:17 first"));
    std::fs::write(&path, format!("one\n{prefix} first\ntwo\n{prefix} second\n")).unwrap();
    assert_eq!(tail.last_reload(), Some("11:05:17 second"));
    assert_eq!(tail.last_reload(), Some("11:05:17 second"));
}
