//! Certificates as a part of the generation: renewal, refusal, rollback, session tickets, metrics.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::listeners::{TLS_A, start, with};
use crate::refusals::{expect_refusal, expect_warning};
use crate::support::{Authority, Conf, Issued, Origin, Proxy, Site, TlsClient, json, wait_until, workspace};

const DAY: f64 = 86_400.0;

/// Replaces the files `a.pem` and `a.key`, as a renewal does.
fn renew(conf: &Conf, proxy: &Proxy, issued: &Issued) {
    proxy.rewrite_conf(&with(conf.clone(), "a", issued));
}

fn shown(proxy: &Proxy, client: &TlsClient) -> Vec<u8> {
    let mut client = client.connect(proxy.second(), "a.example");
    assert_eq!(client.post(json::READ).result(), "good");
    client.certificate()
}

#[test]
fn renewals_under_load_fail_no_handshake() {
    const RENEWALS: usize = 10;
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut kept = TlsClient::trusting(&authority).connect(proxy.second(), "a.example");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    // Without tickets of earlier connections: each makes a whole handshake.
                    shown(&proxy, &TlsClient::trusting(&authority));
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let renewed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..RENEWALS {
                let issued = authority.certify(&["a.example"]);
                renew(&conf, &proxy, &issued);
                assert!(proxy.reload_by_signal());
                assert_eq!(shown(&proxy, &TlsClient::trusting(&authority)), issued.certificate().to_vec());
                let before = answered.load(SeqCst);
                wait_until("the load goes on", || answered.load(SeqCst) > before + 4);
            }
        }));
        // The scope waits for the load.
        stop.store(true, SeqCst);
        renewed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(kept.post(json::READ).result(), "good", "an open connection stays");
    assert_eq!(proxy.metrics().sum("tls_handshake_failures_total", &[]), 0.0);
}

#[test]
fn a_reload_reports_a_renewal_and_a_rollback_undoes_it_without_the_files() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let first = shown(&proxy, &TlsClient::trusting(&authority));
    renew(&conf, &proxy, &authority.certify(&["a.example"]));
    let report = proxy.post_reload().json();
    let changed = format!("{}/a.example", proxy.second());
    assert_eq!(report["changes"]["certificates_changed"], serde_json::json!([changed]), "{report}");
    assert_eq!(report["message"], "generation 2: 1 certificate changed");
    assert_ne!(shown(&proxy, &TlsClient::trusting(&authority)), first);
    std::fs::remove_file(proxy.site().folder().join("a.key")).unwrap();
    assert_eq!(proxy.post_rollback().status, 200);
    assert_eq!(shown(&proxy, &TlsClient::trusting(&authority)), first);
}

#[test]
fn files_that_cannot_serve_refuse_the_reload_and_are_named() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let before = shown(&proxy, &TlsClient::trusting(&authority));
    let good = authority.certify(&["a.example"]);
    let days = |from, until| authority.certify_for_days(&["a.example"], from, until);
    let secret = good.key.lines().nth(1).unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let of = |issued: &Issued| (issued.chain.clone(), issued.key.clone());
    let cut_off = good.chain.replace("-----END CERTIFICATE-----", "");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for ((chain, key), file, part) in [
        (of(&days(-20, -10)), "a.pem", "holds a certificate that expired on 2"),
        (of(&days(10, 20)), "a.pem", "isn't valid before 2"),
        (
            (good.chain.clone(), authority.certify(&["a.example"]).key),
            "a.key",
            "doesn't belong to the first certificate of",
        ),
        ((good.chain.clone(), encrypted.to_owned()), "a.key", "is encrypted"),
        ((good.chain.clone(), "no key".to_owned()), "a.key", "holds no private key in PEM form"),
        ((good.chain.clone(), good.key.replace("M", "!")), "a.key", "isn't well-formed PEM"),
        ((good.key.clone(), good.key.clone()), "a.pem", "holds no certificate in PEM form"),
        ((cut_off, good.key.clone()), "a.pem", "isn't well-formed PEM"),
        ((no_certificate.to_owned(), good.key.clone()), "a.pem", "certificate number 1 can't be parsed"),
        (
            (format!("{}{no_certificate}", good.chain), good.key.clone()),
            "a.pem",
            "certificate number 2 can't be parsed",
        ),
    ] {
        let key_of_conf = if file == "a.pem" { "chain" } else { "key" };
        renew(&conf, &proxy, &Issued { chain, key });
        let place = format!("pointsman.toml: server.listeners[0].tls.certificates[0].{key_of_conf}: ");
        expect_refusal(&proxy, &[&place, file, part]);
        assert!(!proxy.log().contains(secret), "no part of a file is shown");
    }
    std::fs::remove_file(proxy.site().folder().join("a.pem")).unwrap();
    expect_refusal(&proxy, &["a.pem can't be read: "]);
    assert_eq!(shown(&proxy, &TlsClient::trusting(&authority)), before);
    renew(&conf, &proxy, &good);
    assert!(proxy.reload_by_signal());
    assert_eq!(shown(&proxy, &TlsClient::trusting(&authority)), good.certificate().to_vec());
}

#[test]
fn bad_authorities_of_clients_refuse_the_reload() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let conf = conf.listener(&TLS_A.replace("] }", "], client_ca = 'ca.pem' }"));
    proxy.rewrite_conf(&conf.clone().file("ca.pem", "nothing"));
    expect_refusal(&proxy, &["server.listeners[0].tls.client_ca: ", "ca.pem holds no certificate in PEM form"]);
}

#[test]
fn a_process_does_not_start_with_an_expired_certificate() {
    let (authority, origin) = (Authority::new(), Origin::start("good"));
    let expired = authority.certify_for_days(&["a.example"], -2, -1);
    let site = Site::new(&with(Conf::of([&origin]), "a", &expired).listener(TLS_A));
    let output = site.run(&["--config", "pointsman.toml"]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("a.pem holds a certificate that expired on"), "{}", output.stderr);
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_a_warning_when_it_is_near() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let listener = proxy.second().to_string();
    let expires_in = |name: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        proxy.metrics().sum("certificate_expiry_seconds", &[("listener", &listener), ("certificate", name)]) - now
    };
    assert!((expires_in("a.example") / DAY - 365.0).abs() < 0.1, "{}", expires_in("a.example"));
    assert!(!proxy.log().contains("expires in"));
    renew(&conf, &proxy, &authority.certify_for_days(&["b.example"], -1, 13));
    expect_warning(&proxy, &["a.pem holds a certificate that expires in 1", " days, on 2", "renew it, then reload"]);
    assert!((expires_in("b.example") / DAY - 13.0).abs() < 0.1, "{}", expires_in("b.example"));
    wait_until("the series of the old one ends", || {
        proxy.metrics().sum("certificate_expiry_seconds", &[("certificate", "a.example")]) == 0.0
    });
}

#[test]
fn a_session_is_resumed_after_a_reload() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    for version in ["1.2", "1.3"] {
        let client = TlsClient::speaking(&authority, version);
        let resumes = || {
            let mut client = client.connect(proxy.second(), "a.example");
            // The ticket comes with the answer.
            assert_eq!(client.post(json::READ).result(), "good");
            client.is_resumed()
        };
        assert!(!resumes());
        renew(&conf, &proxy, &authority.certify(&["a.example"]));
        assert!(proxy.reload_by_signal());
        assert!(resumes() && resumes(), "TLS {version}");
    }
    assert!(proxy.metrics().sum("tls_handshakes_total", &[("kind", "resumed")]) >= 4.0);
}

/// A ticket is no way around the authorities of the serving generation.
#[test]
fn an_old_ticket_does_not_replace_a_certificate_of_the_client() {
    let (authority, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let (_origin, conf, proxy) = start(&authority);
    let required = conf.clone().listener(&TLS_A.replace("] }", "], client_ca = 'ca.pem' }"));
    let is_served = |client: &TlsClient| {
        let connected = client.try_connect(proxy.second(), "a.example");
        connected.and_then(|mut client| client.try_post(json::READ)).is_ok()
    };
    let anonymous = TlsClient::trusting(&authority);
    let known = TlsClient::with_certificate(&authority, &first.certify(&["client"]));
    assert!(is_served(&anonymous) && is_served(&known));
    // From none to one authority.
    proxy.rewrite_conf(&required.clone().file("ca.pem", &first.pem()));
    assert!(proxy.reload_by_signal());
    assert!(!is_served(&anonymous));
    assert!(is_served(&known) && is_served(&known));
    // From one to another, in the same file.
    proxy.rewrite_conf(&required.file("ca.pem", &second.pem()));
    let report = proxy.post_reload().json();
    assert_eq!(report["changes"]["certificates_changed"], serde_json::json!([format!("{}/client_ca", proxy.second())]));
    assert!(!is_served(&known) && !is_served(&anonymous));
    assert!(is_served(&TlsClient::with_certificate(&authority, &second.certify(&["client"]))));
    // And back to none.
    proxy.rewrite_conf(&conf);
    assert!(proxy.reload_by_signal());
    assert!(is_served(&known) && is_served(&anonymous));
}

#[test]
fn a_listener_serves_with_tls_until_a_restart() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let certificate = shown(&proxy, &TlsClient::trusting(&authority));
    let changed = [
        conf.clone().without_listener(),
        conf.clone().listener("proxy_protocol = true"),
        conf.clone().listener(&format!("{TLS_A}\nhttp2 = false")),
    ];
    for changed in changed {
        proxy.rewrite_conf(&changed);
        let report = proxy.post_reload().json();
        assert_eq!(report["changes"]["restart_required"], serde_json::json!(["server.listeners"]), "{report}");
        assert_eq!(shown(&proxy, &TlsClient::trusting(&authority)), certificate);
    }
    proxy.rewrite_conf(&conf);
    assert_eq!(proxy.post_reload().json()["changes"]["restart_required"], serde_json::json!([]));
}

/// The shipped sample, with certificates where it looks for them.
#[test]
fn the_sample_with_tls_is_good() {
    let (authority, site) = (Authority::new(), Site::new(&Conf::of([])));
    let sample = workspace().join("conf/tls.toml");
    let folder = site.folder().join("certificates");
    std::fs::create_dir(&folder).unwrap();
    for name in ["rpc.example.com", "internal.example.com"] {
        let issued = authority.certify(&[name]);
        std::fs::write(folder.join(name).with_added_extension("pem"), issued.chain).unwrap();
        std::fs::write(folder.join(name).with_added_extension("key"), issued.key).unwrap();
    }
    std::fs::write(folder.join("clients-ca.pem"), authority.pem()).unwrap();
    site.write_text(&std::fs::read_to_string(sample).unwrap());
    let output = site.run(&["check", "--config", "pointsman.toml"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stderr, "");
}
