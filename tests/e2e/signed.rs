//! Signatures of plugins and the errors about them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::refusals::{expect_refusal, expect_warning};
use crate::support::{Conf, Guest, Origin, Proxy, Signer, Site, json, wait_until};

fn orderly(version: &str) -> Guest {
    Guest::in_order("orderly", version, true)
}

/// The request reaches `good`, whatever the policy prefers.
fn conf(good: &Origin) -> Conf {
    Conf::of([good]).scored_by(&orderly("1.0.0"))
}

fn signed_by(proxy: &Proxy) -> serde_json::Value {
    proxy.status()["policies"]["orderly"]["signed_by"].clone()
}

#[test]
fn a_signed_module_is_taken_and_the_status_says_by_whom() {
    let ([a, b], signer) = (["a", "b"].map(Origin::start), Signer::new());
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&orderly("1.0.0")).signed_by(&signer));
    assert_eq!(proxy.post(json::READ).result(), "b");
    assert_eq!(signed_by(&proxy), signer.id());
}

#[test]
fn any_trusted_key_will_do() {
    let (good, [old, new]) = (Origin::start("good"), [(); 2].map(|()| Signer::new()));
    let both = format!("['{}', '{}']", old.key(), new.key());
    let proxy = Proxy::start(&conf(&good).signed_by(&old).plugins("trusted_keys", &both));
    let next = orderly("1.1.0");
    proxy.site().add_signature(&next.file(), &new.sign(&next.wasm()));
    proxy.site().add_guest(&next);
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(signed_by(&proxy), new.id());
    // The old key is retired.
    proxy.rewrite_conf(&conf(&good).signed_by(&new));
    assert_eq!(proxy.post_reload().status, 200);
    proxy.site().add_signature("orderly-1.0.0", &old.sign(&orderly("1.0.0").wasm()));
    expect_warning(&proxy, &["orderly-1.0.0.wasm", "stage signature", &format!("is by key {}", old.id()), &new.id()]);
    assert_eq!(signed_by(&proxy), new.id());
}

/// The signature file of `bad.wasm`, and the texts of the refusal.
struct Bad<'a> {
    what: &'static str,
    wasm: &'a [u8],
    signature: Option<String>,
    refusal: [&'a str; 2],
}

#[test]
fn what_is_not_signed_well_is_not_used() {
    let (good, signer) = (Origin::start("good"), Signer::new());
    let trusting = conf(&good).signed_by(&signer);
    let proxy = Proxy::start(&trusting);
    let wasm = orderly("1.1.0").wasm();
    let (right, id, other) = (signer.sign(&wasm), signer.id(), Signer::new());
    let sign = "`minisign -Sm bad.wasm -x bad.wasm.sig`";
    let mut changed = wasm.clone();
    // A changed letter of the description.
    let at = changed.windows(7).position(|text| text == b"orderly").unwrap();
    changed[at + 6] = b'z';
    let unknown = format!("is by key {}, which is none of the trusted ones", other.id());
    let no_signature = "has no signature, which plugins.trusted_keys asks for";
    let bad = |what, wasm, signature, refusal| Bad { what, wasm, signature, refusal };
    let cases = [
        bad("nothing", &wasm[..], None, [no_signature, sign]),
        bad("nothing, for no module at all", b"#!/bin/sh", None, [no_signature, sign]),
        bad("another's signature", &wasm, Some(other.sign(&wasm)), [&unknown, &id]),
        bad("another module's", &wasm, Some(signer.sign(b"another")), ["doesn't fit the file", sign]),
        bad("that of before a change", &changed, Some(right.clone()), ["doesn't fit the file", sign]),
        bad("half of it", &wasm, Some(right[..right.len() / 2].to_owned()), ["or is cut short", sign]),
        bad("an empty file", &wasm, Some(String::new()), ["or is cut short", sign]),
        bad("a large file", &wasm, Some("x".repeat(20_000)), ["20000 bytes; a signature may have 16384", sign]),
    ];
    for Bad { what, wasm, signature, refusal } in cases {
        eprintln!("beside it lies {what}");
        proxy.site().add_plugin("bad", wasm);
        let file = proxy.plugins().join("bad.wasm.sig");
        match signature {
            Some(signature) => proxy.site().add_signature("bad", &signature),
            None => assert!(!file.exists()),
        }
        expect_warning(&proxy, &["bad.wasm", "stage signature", refusal[0], refusal[1]]);
        assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.0.0");
        let _ = fs::remove_file(file);
    }
    proxy.site().add_plugin("bad", &wasm);
    proxy.site().add_signature("bad", &right);
    assert_eq!(proxy.post_reload().status, 200, "{}", proxy.log());
    assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.1.0");
}

#[test]
fn a_start_is_refused_as_well() {
    let (good, signer) = (Origin::start("good"), Signer::new());
    let site = Site::new(&conf(&good).plugins("trusted_keys", &format!("['{}']", signer.key())));
    let output = site.run(&["--config", site.conf().to_str().unwrap()]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("stage signature: has no signature"), "{}", output.stderr);
}

#[test]
fn a_signature_is_a_file_of_the_plugin_folder() {
    let (good, signer) = (Origin::start("good"), Signer::new());
    let proxy = Proxy::start(&conf(&good).signed_by(&signer));
    let file = proxy.plugins().join("orderly-1.0.0.wasm.sig");
    let inside = proxy.plugins().join("elsewhere.sig");
    fs::rename(&file, &inside).unwrap();
    symlink("elsewhere.sig", &file).unwrap();
    assert_eq!(proxy.post_reload().status, 200, "a link within the folder is followed");
    let outside = proxy.site().folder().join("outside.sig");
    fs::rename(&inside, &outside).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&outside, &file).unwrap();
    expect_refusal(&proxy, &["orderly-1.0.0.wasm.sig is a link that leads out of the plugin folder"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    expect_refusal(&proxy, &["orderly-1.0.0.wasm.sig is not a file"]);
}

/// The module is compiled in memory and in the cache: neither skips the check of its signature.
#[test]
fn keys_that_a_reload_brings_hold_for_what_is_loaded_already() {
    let (good, signer) = (Origin::start("good"), Signer::new());
    let unsigned = conf(&good).plugins("cache_dir", "'cache'");
    let proxy = Proxy::start(&unsigned);
    let trusting = unsigned.clone().plugins("trusted_keys", &format!("['{}']", signer.key()));
    proxy.rewrite_conf(&trusting);
    expect_refusal(&proxy, &["orderly-1.0.0.wasm", "stage signature: has no signature"]);
    assert!(signed_by(&proxy).is_null());
    proxy.site().add_signature("orderly-1.0.0", &signer.sign(&orderly("1.0.0").wasm()));
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(signed_by(&proxy), signer.id());
    // Nor does an earlier signature.
    fs::remove_file(proxy.plugins().join("orderly-1.0.0.wasm.sig")).unwrap();
    expect_refusal(&proxy, &["orderly-1.0.0.wasm", "stage signature: has no signature"]);
    proxy.rewrite_conf(&unsigned);
    assert_eq!(proxy.post_reload().status, 200, "without keys nobody asks");
    assert!(signed_by(&proxy).is_null());
}

#[test]
fn a_watched_folder_is_watched_for_signatures_too() {
    let (good, signer) = (Origin::start("good"), Signer::new());
    let proxy = Proxy::start(&conf(&good).signed_by(&signer).plugins("watch", "true"));
    let next = orderly("1.1.0");
    proxy.site().add_guest(&next);
    wait_until("it isn't used without a signature", || proxy.log().contains("stage signature: has no signature"));
    proxy.site().add_signature(&next.file(), &signer.sign(&next.wasm()));
    let serves = |version: &str| proxy.status()["policies"]["orderly"]["version"] == version;
    wait_until("it is taken when it has one", || serves("1.1.0"));
    let before = proxy.reloads("failure");
    fs::remove_file(proxy.plugins().join("orderly-1.1.0.wasm.sig")).unwrap();
    wait_until("the signature is missed", || proxy.reloads("failure") > before);
    assert!(serves("1.1.0"));
}

#[test]
fn keys_that_are_none_are_told_with_their_place() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good));
    for (keys, part) in [("[]", "must hold at least one key"), ("['RWbad']", "must be a minisign public key")] {
        proxy.rewrite_conf(&conf(&good).plugins("trusted_keys", keys));
        let text = proxy.site().text();
        let line = 1 + text.lines().position(|line| line.starts_with("trusted_keys")).unwrap();
        expect_refusal(&proxy, &[&format!("pointsman.toml:{line}:"), "plugins.trusted_keys", part]);
    }
}
