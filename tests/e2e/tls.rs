//! Endpoints behind HTTPS.

use crate::listeners::with;
use crate::support::{Authority, Conf, Endpoint, Origin, Proxy, json, wait_until};

/// A conf that trusts only `authority`.
fn trusting(conf: Conf, authority: &Authority, folder: &tempfile::TempDir) -> Conf {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    conf.environment("SSL_CERT_FILE", path.to_str().unwrap())
        .environment("SSL_CERT_DIR", folder.path().join("none").to_str().unwrap())
}

#[test]
fn an_https_endpoint_answers_over_a_kept_connection() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = Origin::start_tls("a", authority.issue("127.0.0.1"));
    let proxy = Proxy::start(&trusting(Conf::of([&origin]), &authority, &folder));
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.post(json::READ).result(), "a");
    }
    assert_eq!((origin.hits(), origin.connections()), (5, 1));
    assert_eq!(proxy.metrics().attempts("a", "success"), 5.0);
}

#[test]
fn a_host_name_is_what_the_certificate_must_be_for() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = Origin::start_tls("a", authority.issue("localhost"));
    let url = format!("https://localhost:{}", origin.address().port());
    let proxy = Proxy::start(&trusting(Conf::with([Endpoint::new(&url, "a")]), &authority, &folder));
    assert_eq!(proxy.post(json::READ).result(), "a");
    assert_eq!(origin.last().head.get("host"), Some(url.trim_start_matches("https://")));
}

/// Writes, too: a failure before the first byte may be retried elsewhere.
fn is_passed_over(bad: &Origin, conf: Conf) {
    let proxy = Proxy::start(&conf);
    for body in [json::WRITE, json::READ] {
        assert_eq!(proxy.post(body).result(), "good");
    }
    assert_eq!(bad.hits(), 0);
    assert_eq!(proxy.metrics().attempts("bad", "connect_failed"), 1.0);
    assert!(proxy.cooldown("bad") > 0.0);
    assert_eq!(proxy.metrics().attempts("good", "success"), 2.0);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let bad = Origin::start_tls("bad", authority.issue("elsewhere.example"));
    let good = Origin::start_tls("good", authority.issue("127.0.0.1"));
    is_passed_over(&bad, trusting(Conf::of([&bad, &good]), &authority, &folder));
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let bad = Origin::start_tls("bad", Authority::new().issue("127.0.0.1"));
    let good = Origin::start_tls("good", authority.issue("127.0.0.1"));
    is_passed_over(&bad, trusting(Conf::of([&bad, &good]), &authority, &folder));
}

#[test]
fn an_endpoint_that_speaks_no_tls_gets_nothing_readable() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let bad = Origin::start("bad");
    let good = Origin::start_tls("good", authority.issue("127.0.0.1"));
    let endpoints = [Endpoint::new(&bad.url().replace("http:", "https:"), "bad").weight(100), Endpoint::of(&good)];
    let conf = Conf::with(endpoints).client("connect_timeout", "'300ms'");
    is_passed_over(&bad, trusting(conf, &authority, &folder));
}

#[test]
fn a_private_authority_a_name_and_a_certificate_are_settings_of_the_upstream() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let origin = Origin::start_tls("a", authority.issue_for("node.internal", Some(&clients)));
    let conf = Conf::of([&origin]).file("own.pem", &authority.pem());
    let conf =
        with(conf, "proxy", &clients.certify(&["pointsman"])).health("path", "'/'").health("interval", "'100ms'");
    let tls =
        "{ ca = 'own.pem', server_name = 'node.internal', certificate = { chain = 'proxy.pem', key = 'proxy.key' } }";
    let proxy = Proxy::start(&conf.clone().set("tls", tls));
    assert_eq!(proxy.post(json::READ).result(), "a");
    wait_until("probes pass, too", || proxy.endpoint("a")["health"] == "healthy");
    for missing in ["ca = 'own.pem', ", "server_name = 'node.internal', "] {
        let proxy = Proxy::start(&conf.clone().set("tls", &tls.replace(missing, "")));
        assert_eq!(proxy.post(json::READ).status, 502, "without {missing}");
        assert_eq!(proxy.metrics().attempts("a", "connect_failed"), 1.0, "without {missing}");
    }
    // With TLS 1.3 the client learns it only after the handshake.
    let without = tls.replace(", certificate = { chain = 'proxy.pem', key = 'proxy.key' }", "");
    let proxy = Proxy::start(&conf.set("tls", &without));
    assert_eq!(proxy.post(json::READ).status, 502);
}

#[test]
fn a_renewed_authority_takes_effect_by_a_reload_and_a_broken_one_refuses_it() {
    let (old, new) = (Authority::new(), Authority::new());
    let origin = Origin::start_tls("a", new.issue("127.0.0.1"));
    let conf = Conf::of([&origin]).file("own.pem", &old.pem()).set("tls", "{ ca = 'own.pem' }");
    let conf = conf.cooldown("base", "'1ms'").cooldown("max", "'1ms'");
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.post(json::READ).status, 502);
    proxy.rewrite_conf(&conf.clone().file("own.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    let refused = proxy.post_reload().text();
    assert!(
        refused.contains("upstreams.main.tls.ca: ") && refused.contains("certificate number 1 can't be parsed"),
        "{refused}"
    );
    proxy.rewrite_conf(&conf.file("own.pem", &new.pem()));
    let report = proxy.post_reload().json();
    assert_eq!(report["changes"]["certificates_changed"], serde_json::json!(["upstreams.main"]), "{report}");
    assert_eq!(proxy.post(json::READ).result(), "a");
}
