//! Upstreams for tests: made from a conf, with the built-in policies.

use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;

use super::{Policies, Resources, Upstream, shadows};
use crate::client::Transport;
use crate::config;
use crate::metrics::Metrics;
use crate::model::{MethodClass, RequestFacts};

/// What upstreams are built with, with metrics of its own.
pub(crate) fn resources() -> Resources {
    let metrics = Metrics::new(Registry::new()).unwrap();
    Resources { metrics, transport: Arc::new(Transport::new(1)), shadows: shadows().0, doubts: Arc::default() }
}

/// An upstream with these settings, and an endpoint for each weight, named `e0`, `e1` and so on.
pub(crate) fn upstream(settings: &str, weights: &[u16]) -> Arc<Upstream> {
    let endpoint = |(number, weight): (usize, &u16)| {
        format!("{{ url = 'http://e{number}', name = 'e{number}', weight = {weight} }}")
    };
    let endpoints: Vec<String> = weights.iter().enumerate().map(endpoint).collect();
    of_conf(&format!("[upstreams.u]\n{settings}\nendpoints = [{}]", endpoints.join(", ")))
}

/// The upstream `u` of a conf.
pub(crate) fn of_conf(conf: &str) -> Arc<Upstream> {
    let conf = config::parse(conf, Path::new("conf.toml"), &|_| None).unwrap();
    Arc::new(Upstream::build(&conf.upstreams["u"], None, Policies::default(), &Arc::default(), &resources()))
}

/// A read by the client with this key.
pub(crate) fn read_by(client_key: u64) -> RequestFacts {
    RequestFacts { client_key, ..RequestFacts::of_single("eth_call", MethodClass::Read) }
}
