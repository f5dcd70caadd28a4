//! The example policies in other languages, as `scripts/build-sdk-examples` built them.

use crate::support::{Conf, Origin, Proxy, json};

const EXAMPLES: [(&str, &str); 2] = [
    ("least-request-c", include_str!("../../sdk/c/least-request.wat")),
    ("least-request-as", include_str!("../../sdk/assemblyscript/least-request.wat")),
];

#[test]
fn each_is_loaded_decides_and_never_faults() {
    let [light, heavy] = ["light", "heavy"].map(Origin::start);
    for (name, text) in EXAMPLES {
        let conf = Conf::of([&light, &heavy]).endpoint(0, |e| e.weight(1)).endpoint(1, |e| e.weight(60));
        let proxy = Proxy::start(&conf);
        proxy.site().add_plugin(name, &wat::parse_str(text).unwrap());
        proxy.rewrite_conf(&conf.extra(&format!("[policies.example]\nplugin = '{name}'")).set("scoring", "'example'"));
        let response = proxy.post_reload();
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        for _ in 0..20 {
            assert_eq!(proxy.post(json::READ).result(), "heavy", "{name}");
        }
        let policy = proxy.status()["policies"]["example"].clone();
        assert_eq!(
            (policy["calls"].as_u64() >= Some(20), proxy.metrics().sum("policy_faults_total", &[])),
            (true, 0.0)
        );
    }
}

#[test]
fn each_refuses_a_config_with_its_own_words() {
    let a = Origin::start("a");
    for (name, text) in EXAMPLES {
        let conf = Conf::of([&a]);
        let proxy = Proxy::start(&conf);
        proxy.site().add_plugin(name, &wat::parse_str(text).unwrap());
        let table = format!("[policies.example]\nplugin = '{name}'\n[policies.example.config]\nbias = 1");
        proxy.rewrite_conf(&conf.extra(&table).set("scoring", "'example'"));
        let response = proxy.post_reload();
        assert_eq!(response.status, 422, "{name}: {}", response.text());
        assert!(response.text().contains("this policy has no config"), "{name}: {}", response.text());
    }
}
