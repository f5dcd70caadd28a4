//! The real proxy as a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, Response};
use crate::conf::Conf;
use crate::metrics::Samples;
use crate::site::Site;
use crate::wait::wait_for;

/// Number of starts, because a port may be taken between its choice and its use.
const STARTS: usize = 5;
/// Log lines shown for a failed test.
const SHOWN_LINES: usize = 60;

/// A running proxy. It is killed when it is dropped.
pub struct Proxy {
    site: Site,
    child: Mutex<Child>,
}

impl Proxy {
    /// Starts a proxy and waits until it serves.
    #[track_caller]
    pub fn start(conf: &Conf) -> Proxy {
        for _ in 0..STARTS {
            let proxy = Proxy::spawn(Site::new(conf));
            if proxy.is_ready() {
                return proxy;
            }
            assert!(proxy.log().contains("can't listen on"), "the proxy did not start");
        }
        panic!("no free port in {STARTS} starts");
    }

    fn spawn(site: Site) -> Proxy {
        let log = File::create(site.folder().join("log")).expect("a log file");
        let conf = site.conf();
        let mut command = site.command(&["--config", conf.to_str().expect("a path in UTF-8")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the binary starts");
        Proxy { site, child: Mutex::new(child) }
    }

    /// Waits until it serves; false if it ended instead. The proxy's own log shows it, so another
    /// process on the port is not mistaken for it.
    fn is_ready(&self) -> bool {
        wait_for("the proxy serves or ends", || {
            if !self.is_running() {
                return Some(false);
            }
            let open =
                || [self.site.listen, self.site.admin].map(std::net::TcpStream::connect).iter().all(Result::is_ok);
            (self.log().contains("serving") && open() && self.admin("GET", "/health").status > 0).then_some(true)
        })
    }

    /// Its listening address.
    pub fn address(&self) -> SocketAddr {
        self.site.listen
    }

    /// Its second address, where a listener of the conf listens.
    pub fn second(&self) -> SocketAddr {
        self.site.second
    }

    /// Its admin address.
    pub fn admin_address(&self) -> SocketAddr {
        self.site.admin
    }

    /// Its folder.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Its plugin folder.
    pub fn plugins(&self) -> PathBuf {
        self.site.plugins()
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        self.site.lane.map_or_else(|| Client::connect(self.site.listen), |lane| lane.connect(self.site.second))
    }

    /// Posts `body` over a connection of its own.
    #[track_caller]
    pub fn post(&self, body: impl AsRef<[u8]>) -> Response {
        self.client().post(body)
    }

    /// Writes another conf. It is not reloaded.
    pub fn rewrite_conf(&self, conf: &Conf) {
        self.site.write(conf);
    }

    /// Sends SIGHUP and waits for the end of a reload. Returns whether it succeeded.
    #[track_caller]
    pub fn reload_by_signal(&self) -> bool {
        let count = |samples: &Samples, result: &str| samples.sum("reloads_total", &[("result", result)]);
        let before = self.metrics();
        self.signal(Signal::SIGHUP);
        wait_for("the reload has ended", || {
            let now = self.metrics();
            let more = |result: &str| count(&now, result) > count(&before, result);
            (more("success") || more("failure")).then(|| more("success"))
        })
    }

    /// `POST /reload`.
    #[track_caller]
    pub fn post_reload(&self) -> Response {
        self.admin("POST", "/reload")
    }

    /// `POST /rollback`.
    #[track_caller]
    pub fn post_rollback(&self) -> Response {
        self.admin("POST", "/rollback")
    }

    /// Reloads and rollbacks so far with this result.
    #[track_caller]
    pub fn reloads(&self, result: &str) -> f64 {
        self.metrics().sum("reloads_total", &[("result", result)])
    }

    /// Reloads and rollbacks so far with any of these results.
    #[track_caller]
    pub fn reloads_with(&self, results: &[&str]) -> f64 {
        let metrics = self.metrics();
        results.iter().map(|result| metrics.sum("reloads_total", &[("result", result)])).sum()
    }

    /// `GET /status`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        self.admin("GET", "/status").json()
    }

    /// The part of the status about an endpoint of the upstream `main`.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let endpoints = status["upstreams"]["main"]["endpoints"].as_array().expect("a list of endpoints");
        endpoints.iter().find(|endpoint| endpoint["name"] == name).expect("an endpoint of this name").clone()
    }

    /// Remaining cooldown of an endpoint in seconds.
    #[track_caller]
    pub fn cooldown(&self, endpoint: &str) -> f64 {
        self.endpoint(endpoint)["cooldown_seconds"].as_f64().expect("a number")
    }

    /// `GET /metrics`.
    #[track_caller]
    pub fn metrics(&self) -> Samples {
        Samples::parse(&self.admin("GET", "/metrics").text())
    }

    /// A request to the admin address.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str) -> Response {
        let mut client = Client::connect(self.site.admin);
        match method {
            "GET" => client.get(path),
            "POST" => client.post_with(path, &[], ""),
            _ => {
                client.send(format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.site.admin));
                client.read()
            }
        }
    }

    /// A new connection to the admin address.
    pub fn admin_client(&self) -> Client {
        Client::connect(self.site.admin)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.site.folder().join("log")).expect("the log")
    }

    /// Number of log lines that contain `part`.
    pub fn lines(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.lock().unwrap().id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("a running process");
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().try_wait().expect("a child").is_none()
    }

    /// Its peak memory in KiB; `None` if the system doesn't report it.
    pub fn peak_memory(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    /// The peak is that from now on, where the system can forget it.
    pub fn forget_peak_memory(&self) {
        let id = self.child.lock().unwrap().id();
        let _ = std::fs::write(format!("/proc/{id}/clear_refs"), "5");
    }

    /// The memory that is resident now, in KiB.
    pub fn memory(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// How many files and sockets are open.
    pub fn open_files(&self) -> Option<usize> {
        let id = self.child.lock().unwrap().id();
        Some(std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())
    }

    /// The limits of open files, soft and hard.
    pub fn open_files_limit(&self) -> Option<(usize, usize)> {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.lock().unwrap().id())).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let mut numbers = line.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }

    /// Limits its open files to `most` from now on. Open files stay open.
    pub fn limit_open_files(&self, most: usize) {
        let id = self.child.lock().unwrap().id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={most}:")]).status();
        assert!(status.expect("util-linux is installed").success(), "the limit is set");
    }

    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.lock().unwrap().id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Waits for its end. The exit code; `None` when a signal ended it.
    #[track_caller]
    pub fn wait_exit(&self) -> Option<i32> {
        wait_for("the proxy has ended", || self.child.lock().unwrap().try_wait().expect("a child")).code()
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub fn terminate(&self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait_exit()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- the proxy's log ---\n{}\n---", shown.join("\n"));
        }
    }
}
