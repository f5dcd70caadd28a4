//! Output to terminals and logs: no control characters, no secrets, every message once.

use crate::support::{Conf, Guest, Origin, Proxy, Site, wait_until};

/// Reverses text, clears the screen, is invisible.
const BAD: &str = "\u{202e}\u{1b}[2J\u{200b}";

fn is_fit(text: &str) -> bool {
    !text.contains(|c: char| {
        c != '\n' && (c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'))
    })
}

#[test]
fn names_paths_and_arguments_are_escaped() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&good]).scored_by(&Guest::in_order("orderly", "1.0.0", false)));
    proxy.site().add_plugin(&format!("odd{BAD}"), b"rubbish");
    let response = proxy.post_reload();
    assert_eq!((response.status, is_fit(&response.text())), (200, true), "{}", response.text());
    let conf = proxy.site().conf();
    let conf = conf.to_str().unwrap();
    let (admin, odd) = (proxy.admin_address().to_string(), format!("no-such{BAD}.toml"));
    let (admin, odd) = (admin.as_str(), odd.as_str());
    for (arguments, code) in [
        (vec!["check", "--config", conf], 0),
        (vec!["reload", "--admin", admin], 0),
        (vec!["check", "--config", odd], 1),
        (vec!["--config", odd], 1),
        (vec!["import-azoth", odd], 1),
        (vec!["status", "--admin", odd], 1),
        (vec![odd], 2),
        (vec!["check", odd], 2),
    ] {
        let output = proxy.site().run(&arguments);
        assert_eq!(output.code, Some(code), "{arguments:?}: {}", output.stderr);
        let printed = output.stdout + &output.stderr;
        assert!(is_fit(&printed), "{arguments:?}: {printed:?}");
        assert!(printed.contains("u202e") || printed.contains("u{202e}"), "it is shown escaped: {printed:?}");
    }
    wait_until("the log has it", || proxy.log().contains("plugin file odd\\u{202e}"));
    assert!(is_fit(&proxy.log()), "{:?}", proxy.log());
}

#[test]
fn a_token_that_was_pasted_as_the_name_of_a_header_is_not_shown() {
    let good = Origin::start("good");
    let token = "Abc123Def456Ghi789Jkl012";
    let proxy = Proxy::start(&Conf::of([&good]));
    for name in [token, "Bearer-abcdefghijkl", "correct-horse-battery-staple", "123e4567-e89b-12d3-a456-426614174000"] {
        for headers in
            [format!("{{ {name} = \"x\\n\" }}"), format!("{{ {name} = 1 }}"), format!("{{ '{name} x' = 'x' }}")]
        {
            proxy.rewrite_conf(&Conf::of([&good]).endpoint(0, |e| e.set("headers", &headers)));
            let refused = proxy.post_reload();
            assert_eq!(refused.status, 422);
            let conf = proxy.site().conf();
            let checked = proxy.site().run(&["check", "--config", conf.to_str().unwrap()]).stderr;
            for shown in [refused.text(), checked, proxy.log()] {
                assert!(!shown.contains(name), "{shown}");
            }
        }
    }
    wait_until("the log has the place", || proxy.log().contains("endpoints[0].headers.\"…\""));
}

#[test]
fn a_filter_that_names_nothing_is_told() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&good]).environment("RUST_LOG", "nonsense"));
    assert!(proxy.log().contains("RUST_LOG=\"nonsense\" has neither a level nor a target"), "{}", proxy.log());
    assert!(proxy.log().contains("serving"), "and the default's lines are there");
}

#[test]
fn a_refusal_is_printed_once_and_changed_settings_are_named() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]);
    let proxy = Proxy::start(&conf);
    let admin = proxy.admin_address().to_string();
    let unchanged = proxy.site().run(&["reload", "--admin", &admin]);
    assert!(unchanged.stdout.contains("generation 2: nothing changed"), "{}", unchanged.stdout);
    let nothing = proxy.site().run(&["rollback", "--admin", &admin]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("no reload since the start has changed anything"), "{}", nothing.stderr);

    proxy.rewrite_conf(&conf.clone().set("max_attempts", "5").server("max_body", "'1MiB'"));
    let report = proxy.post_reload().json();
    assert_eq!(report["message"], "generation 3: settings updated: server.max_body, upstreams.main.max_attempts");

    proxy.site().write_text("nonsense");
    let refused = proxy.site().run(&["reload", "--admin", &admin]);
    let printed = refused.stdout + &refused.stderr;
    assert_eq!((refused.code, printed.matches("isn't TOML").count()), (Some(1), 1), "{printed}");
    assert!(printed.contains("refused; generation 3 serves on"), "{printed}");
}

/// Otherwise the proxy would not start when the machine boots.
#[test]
fn a_broken_file_that_no_policy_needs_is_a_warning() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]).scored_by(&Guest::in_order("orderly", "1.0.0", false));
    let site = Site::new(&conf);
    site.add_plugin("broken", b"rubbish");
    let checked = site.run(&["check", "--config", site.conf().to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warning = "plugin file broken.wasm is not used: stage compile: is not a WebAssembly module";
    assert!(checked.stderr.contains(&format!("warning: {warning}")), "{}", checked.stderr);

    let proxy = Proxy::start(&conf);
    proxy.site().add_plugin("broken", b"rubbish");
    let response = proxy.post_reload();
    assert_eq!((response.status, response.json()["warnings"][0].as_str()), (200, Some(warning)));
    wait_until("the log tells it", || proxy.log().contains(warning));
    // The broken file may contain a policy's plugin.
    proxy.rewrite_conf(&conf.clone().extra("[policies.other]\nplugin = 'other'"));
    let error = proxy.post_reload().json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no plugin named \"other\"") && error.contains("broken.wasm can't be used: "), "{error}");
    // A broken file in place of the running module doesn't restore an older one.
    proxy.rewrite_conf(&conf.clone().guest(&Guest::in_order("orderly", "1.1.0", true)).without_extra().extra(POLICY));
    assert_eq!(proxy.post_reload().status, 200);
    proxy.site().add_plugin("orderly-1.1.0", b"rubbish");
    let error = proxy.post_reload().json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the plugin file orderly-1.1.0.wasm that it was loaded from is broken"), "{error}");
    assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.1.0");
}

const POLICY: &str = "[policies.orderly]\nplugin = 'orderly'";

#[test]
fn an_import_that_is_not_there_says_what_may_be() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]).extra("[policies.bad]\nplugin = 'bad'").set("scoring", "'bad'");
    let proxy = Proxy::start(&Conf::of([&good]));
    proxy.rewrite_conf(&conf);
    let module =
        |import: &str| wat::parse_str(format!("(module (import {import} (func)) (memory (export \"memory\") 1))"));
    for (import, part) in [
        ("\"env\" \"abort\"", "`--use abort=`"),
        ("\"wasi_snapshot_preview1\" \"fd_write\"", "without WASI"),
        ("\"a\" \"b\"", "a policy may import pointsman.log only"),
    ] {
        proxy.site().add_plugin("bad", &module(import).unwrap());
        let error = proxy.post_reload().json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("unknown import") && error.contains(part), "{error}");
    }
}
