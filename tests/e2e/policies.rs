//! Modules that decide, well or badly.

use crate::support::{Conf, Guest, Origin, Proxy, json};

#[test]
fn a_scoring_policy_decides_where_requests_go() {
    let (a, b, c) = (Origin::start("a"), Origin::start("b"), Origin::start("c"));
    for (last_first, expected) in [(false, "a"), (true, "c")] {
        let guest = Guest::in_order("orderly", "1.0.0", last_first);
        let proxy = Proxy::start(&Conf::of([&a, &b, &c]).scored_by(&guest));
        assert_eq!(proxy.post(json::READ).result(), expected);
        assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.0.0");
    }
}
