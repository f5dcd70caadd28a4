//! Conf files for tests: one upstream named `main`, short timeouts, and a test's additions.
//!
//! Values are TOML: `.set("max_attempts", "2")`, `.set("deadline", "'1s'")`.

use std::net::SocketAddr;

use crate::guests::Guest;
use crate::lane::{LANE, Lane, Secured};
use crate::origin::Origin;
use crate::signer::Signer;

/// A conf, and the files beside it when a proxy starts with it.
#[derive(Clone)]
pub struct Conf {
    server: Vec<(String, String)>,
    admin: Vec<(String, String)>,
    plugins: Vec<(String, String)>,
    upstream: Vec<(String, String)>,
    client: Vec<(String, String)>,
    cooldown: Vec<(String, String)>,
    health: Vec<(String, String)>,
    endpoints: Vec<Endpoint>,
    extra: String,
    listener: Option<String>,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) open_files: Option<(usize, usize)>,
    pub(crate) shipped: Vec<String>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) signer: Option<Signer>,
}

/// An endpoint of a conf.
#[derive(Clone)]
pub struct Endpoint(Vec<(String, String)>);

impl Conf {
    /// The origins as endpoints of the same names, with weights of 100, 90 and so on: both the
    /// native policy and `tiers` prefer the first.
    pub fn of<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Conf {
        let weights = (1..=10).rev().map(|n| n * 10);
        let endpoints = origins.into_iter().zip(weights).map(|(origin, weight)| Endpoint::of(origin).weight(weight));
        Conf::with(endpoints)
    }

    /// These endpoints.
    pub fn with(endpoints: impl IntoIterator<Item = Endpoint>) -> Conf {
        Conf {
            server: pairs(&[("threads", "2"), ("shutdown_grace", "'10s'")]),
            admin: Vec::new(),
            plugins: Vec::new(),
            upstream: pairs(&[("deadline", "'8s'")]),
            client: pairs(&[("connect_timeout", "'2s'"), ("timeout", "'3s'")]),
            cooldown: pairs(&[("base", "'30s'"), ("max", "'60s'"), ("jitter", "0")]),
            health: Vec::new(),
            endpoints: endpoints.into_iter().collect(),
            extra: String::new(),
            listener: None,
            files: Vec::new(),
            environment: Vec::new(),
            open_files: None,
            shipped: Vec::new(),
            guests: Vec::new(),
            signer: None,
        }
    }

    /// A key of `[upstreams.main]`.
    pub fn set(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.upstream, key, value);
        self
    }

    /// A key of `[server]`.
    pub fn server(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.server, key, value);
        self
    }

    /// A key of `[admin]`.
    pub fn admin(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.admin, key, value);
        self
    }

    /// A key of `[plugins]`.
    pub fn plugins(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.plugins, key, value);
        self
    }

    /// A key of `[upstreams.main.client]`.
    pub fn client(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.client, key, value);
        self
    }

    /// A key of `[upstreams.main.cooldown]`.
    pub fn cooldown(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.cooldown, key, value);
        self
    }

    /// A key of `[upstreams.main.health_check]`. Without any there are no health checks, so that
    /// origins receive only the test's requests.
    pub fn health(mut self, key: &str, value: &str) -> Conf {
        put(&mut self.health, key, value);
        self
    }

    /// Changes the endpoint at this position.
    pub fn endpoint(mut self, position: usize, change: impl FnOnce(Endpoint) -> Endpoint) -> Conf {
        let endpoint = self.endpoints[position].clone();
        self.endpoints[position] = change(endpoint);
        self
    }

    /// Adds an endpoint.
    pub fn and(mut self, endpoint: Endpoint) -> Conf {
        self.endpoints.push(endpoint);
        self
    }

    /// A listener at the proxy's second address, with these keys.
    pub fn listener(self, toml: &str) -> Conf {
        Conf { listener: Some(toml.to_owned()), ..self }
    }

    /// Without the listener at the second address.
    pub fn without_listener(self) -> Conf {
        Conf { listener: None, ..self }
    }

    /// A file beside the conf.
    pub fn file(mut self, name: &str, text: &str) -> Conf {
        put(&mut self.files, name, text);
        self
    }

    /// Appends whole TOML tables.
    pub fn extra(mut self, toml: &str) -> Conf {
        self.extra += toml;
        self.extra.push('\n');
        self
    }

    /// Removes the appended TOML: guests are in the plugin folder, but no policy is declared.
    pub fn without_extra(self) -> Conf {
        Conf { extra: String::new(), ..self }
    }

    /// An environment variable of the proxy.
    pub fn environment(mut self, name: &str, value: &str) -> Conf {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the proxy with these limits of open files, soft and hard.
    pub fn open_files(self, soft: usize, hard: usize) -> Conf {
        Conf { open_files: Some((soft, hard)), ..self }
    }

    /// Puts the plugin `name` of this repository into the plugin folder.
    pub fn shipped(mut self, name: &str) -> Conf {
        self.shipped.push(name.to_owned());
        self
    }

    /// The shipped policies: `tiers` scores, `json-rpc-retry` retries.
    pub fn with_shipped_policies(self) -> Conf {
        self.shipped("tiers")
            .shipped("json-rpc-retry")
            .extra("[policies.tiers]\nplugin = 'tiers'\n[policies.again]\nplugin = 'json-rpc-retry'")
            .set("scoring", "'tiers'")
            .set("retry", "'again'")
    }

    /// Puts the guest into the plugin folder and configures a policy of its name.
    pub fn guest(mut self, guest: &Guest) -> Conf {
        let name = guest.name();
        self.guests.push(guest.clone());
        self.extra(&format!("[policies.{name}]\nplugin = '{name}'"))
    }

    /// Puts the guest into the plugin folder without a policy.
    pub fn guest_file(mut self, guest: &Guest) -> Conf {
        self.guests.push(guest.clone());
        self
    }

    /// Trusts this key and signs the guests with it.
    pub fn signed_by(self, signer: &Signer) -> Conf {
        let conf = self.plugins("trusted_keys", &format!("['{}']", signer.key()));
        Conf { signer: Some(signer.clone()), ..conf }
    }

    /// The guest scores.
    pub fn scored_by(self, guest: &Guest) -> Conf {
        self.guest(guest).set("scoring", &format!("'{}'", guest.name()))
    }

    /// The guest decides about retries.
    pub fn retried_by(self, guest: &Guest) -> Conf {
        self.guest(guest).set("retry", &format!("'{}'", guest.name()))
    }

    /// The TOML.
    pub(crate) fn render(&self, listen: SocketAddr, second: SocketAddr, admin: SocketAddr) -> String {
        let express = if matches!(*LANE, Lane::Session) { "express_lane = false\n" } else { "" };
        let mut text = format!("[server]\nlisten = ['{listen}']\n{express}{}", lines(&self.server));
        let lane = self.lane().map(|lane| lane.listener());
        if let Some(listener) = self.listener.as_deref().or(lane) {
            text += &format!("\n[[server.listeners]]\naddress = '{second}'\n{listener}\n");
        }
        text += &format!("\n[admin]\nlisten = '{admin}'\n{}", lines(&self.admin));
        text += &format!("\n[plugins]\n{}", lines(&self.plugins));
        text += &format!("\n[upstreams.main]\n{}", lines(&self.upstream));
        if self.health.is_empty() && !self.upstream.iter().any(|(key, _)| key == "health_check") {
            text += "health_check = 'off'\n";
        }
        text += &format!("\n[upstreams.main.client]\n{}", lines(&self.client));
        text += &format!("\n[upstreams.main.cooldown]\n{}", lines(&self.cooldown));
        if !self.health.is_empty() {
            text += &format!("\n[upstreams.main.health_check]\n{}", lines(&self.health));
        }
        for endpoint in &self.endpoints {
            text += &format!("\n[[upstreams.main.endpoints]]\n{}", lines(&endpoint.0));
        }
        text + "\n" + &self.extra
    }

    /// The lane of the test's clients, if it has a listener and the test has none.
    pub(crate) fn lane(&self) -> Option<&'static Secured> {
        match &*LANE {
            Lane::Tls(lane) if self.listener.is_none() => Some(lane),
            _ => None,
        }
    }
}

impl Endpoint {
    /// An endpoint at this URL.
    pub fn new(url: &str, name: &str) -> Endpoint {
        Endpoint(pairs(&[("url", &format!("'{url}'")), ("name", &format!("'{name}'"))]))
    }

    /// The origin as an endpoint of the same name.
    pub fn of(origin: &Origin) -> Endpoint {
        Endpoint::new(&origin.url(), origin.name())
    }

    /// With this weight.
    pub fn weight(self, weight: u32) -> Endpoint {
        self.set("weight", &weight.to_string())
    }

    /// Any other key.
    pub fn set(mut self, key: &str, value: &str) -> Endpoint {
        put(&mut self.0, key, value);
        self
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn put(table: &mut Vec<(String, String)>, key: &str, value: &str) {
    table.retain(|(known, _)| known != key);
    table.push((key.to_owned(), value.to_owned()));
}

fn lines(table: &[(String, String)]) -> String {
    table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}
