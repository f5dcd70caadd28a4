//! Request targets (RFC 9112, section 3.2), and the path used for routing.

use super::After::{Closed, Kept};
use super::{Case, with_head};
use crate::support::json;

pub(super) fn cases() -> Vec<Case> {
    [paths(), forms()].into_iter().flatten().collect()
}

fn to(target: &str) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}", json::READ.len());
    with_head(&head, json::READ)
}

fn paths() -> Vec<Case> {
    let served = [
        "/only",
        "/only/",
        "/only?x=1",
        "/only?../../nowhere",
        "/only?%2f%00",
        "/only/x",
        "/only/x/../y",
        "/only/./x",
        "/./only",
        "//only",
        "///only//",
        "/x/../only",
        "/../only",
        "/x/%2e%2E/only",
        "/%6fnly",
        "/%6F%6E%6C%79",
        "/only/%41-%7e",
        "/only/%c3%a9",
        "/only/..x",
        "/only/...",
        "/only/.%2e/only",
        "/nowhere/..//only",
    ];
    // The body of a request without a route isn't read.
    let nowhere = [
        "/",
        "/only/../nowhere",
        "/only/..",
        "/only/x/../../nowhere",
        "/only/../../nowhere",
        "/only/%2e%2e/nowhere",
        "/only/.%2E/nowhere",
        "/only/%2E./nowhere",
        "/only//../nowhere/..",
        "/only/./../nowhere",
        "/ONLY",
        "/%4Fnly",
        "/onlyx",
        "/only%2e",
        "/only.",
        "/x/only",
        "/%256fnly",
        "/only;x",
        "//proxy/only",
    ];
    let refused = [
        "/only%2f",
        "/only%2Fx",
        "/only/%2e%2e%2fnowhere",
        "/nowhere%2f..%2fonly",
        "/only\\",
        "/only\\..\\nowhere",
        "/only/%5c",
        "/only%5C..%5Cnowhere",
        "/only%00",
        "/only/%00/../nowhere",
        "/only%0a",
        "/only%0d%0ahost:%20x",
        "/only%09",
        "/only%20",
        "/only%7f",
        "/only%",
        "/only%2",
        "/only%zz",
        "/only%+1",
        "/only%u002e",
        "/only\t",
        "/only\u{b}",
        "/only\0",
        "/only#x",
        "/only#/../nowhere",
        "/only?x#y",
    ];
    let mut cases: Vec<Case> = served.iter().map(|path| Case::served(format!("path {path:?}"), to(path))).collect();
    cases.extend(nowhere.iter().map(|path| Case::answered(format!("path {path:?}"), to(path), 404, Closed)));
    cases.extend(refused.iter().map(|path| Case::refused(format!("path {path:?}"), to(path))));
    cases
}

fn forms() -> Vec<Case> {
    let served = ["http://proxy/only", "HTTP://proxy/only", "https://proxy/only/x?y", "http://proxy/x/../only"];
    let refused = [
        "*",
        "proxy",
        "proxy:80",
        "proxy:80/only",
        "only",
        "?x",
        "?/only",
        "*/only",
        "ftp://proxy/only",
        "http:/only",
        "http:only",
        "http://",
        "http:///only",
        "http://other/only",
        "http://proxy:81/only",
        "http://user@proxy/only",
        "http://user:pass@proxy/only",
        "http://proxy\\@other/only",
        "http:\\\\proxy/only",
        "javascript:/only",
        "file:///only",
        "://proxy/only",
        "\u{e9}",
    ];
    let mut cases: Vec<Case> = served.iter().map(|form| Case::served(format!("target {form:?}"), to(form))).collect();
    cases.extend(refused.iter().map(|form| Case::refused(format!("target {form:?}"), to(form))));
    for nowhere in ["http://proxy", "http://proxy/", "http://proxy?/only", "http://proxy/only/../nowhere"] {
        cases.push(Case::answered(format!("target {nowhere:?}"), to(nowhere), 404, Closed));
    }
    let bare = |line: &str| with_head(&format!("{line} HTTP/1.1\r\nhost: proxy"), "");
    cases.push(Case::answered("OPTIONS of the server", bare("OPTIONS *"), 404, Kept));
    cases.push(Case::refused("GET of an asterisk", bare("GET *")));
    cases.push(Case::refused("CONNECT without Host", with_head("CONNECT proxy:80 HTTP/1.1", "")));
    cases.push(Case::refused("CONNECT with another Host", bare("CONNECT other:80")));
    cases
}
