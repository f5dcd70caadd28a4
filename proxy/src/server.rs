//! The process: from a checked generation to a running server, and to its end.
//!
//! Pingora runs the services. Its graceful shutdown sleeps for a fixed time; [`Shutdown`] ends the
//! process as soon as no request is in flight, at the latest after `shutdown_grace`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use prometheus::Registry;
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{AdminServer, AdminService, Reload};
use crate::client::Transport;
use crate::clock;
use crate::config::{self, Config, Listener};
use crate::dns;
use crate::gateway::{Acceptor, Bound, ProxyService};
use crate::health::HealthChecker;
use crate::housekeeping::Housekeeper;
use crate::logging::Log;
use crate::metrics::Metrics;
use crate::policy::{Limits, PolicyRuntime};
use crate::progress::Progress;
use crate::reload::{
    Failed, GenerationBuilder, Job, Patience, ReloadHandle, Reloader, RestartSettings, Stuck, Trigger, queue,
};
use crate::report::{ReloadReport, UnderWay};
use crate::snapshot::{Published, Snapshot};
use crate::upstream::{Comparer, Resources, shadows};
use crate::watcher::PluginWatcher;

/// With fewer open files there is hardly a reserve.
const FEW_FILES: u64 = 256;
/// Pingora would exit by itself after this; `shutdown_grace`, at most a day, ends first.
const PINGORA_GRACE_SECS: u64 = 2 * 24 * 60 * 60;
/// Connections that wait to be accepted; the kernel's own limit is lower (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;
/// How often a shutdown checks for requests in flight.
const DRAIN_PERIOD: Duration = Duration::from_millis(20);

/// The first generation, and the builder of later ones.
pub struct Prepared {
    /// Builds later generations.
    pub builder: GenerationBuilder,
    /// Calls shadow policies.
    pub comparer: Comparer,
    /// The first generation.
    pub snapshot: Snapshot,
}

/// Does everything that precedes listening: reads the conf, loads the plugins, builds the first
/// generation.
///
/// # Errors
/// For the same reasons as a reload.
pub fn prepare_first(conf: PathBuf) -> anyhow::Result<Prepared> {
    raise_open_files();
    let job = Job::start(Progress::default(), move |progress| prepare_on_this_thread(conf, progress));
    match job.context("no thread can be started")?.wait(Patience::START) {
        Ok(prepared) => prepared,
        Err(Failed::Panicked(stage)) => anyhow::bail!("preparing the first generation panicked in stage \"{stage}\""),
        Err(Failed::Hangs(Stuck { stage, since, .. })) => {
            anyhow::bail!("preparing the first generation hangs in stage \"{stage}\" for {} s", since.as_secs())
        }
    }
}

fn prepare_on_this_thread(conf: PathBuf, progress: &Progress) -> anyhow::Result<Prepared> {
    progress.enter("read the conf and the files that it names");
    let config = config::load(&conf)?;
    let limits = Limits { instances: config.plugins.max_instances, ..Limits::DEFAULT };
    let runtime = PolicyRuntime::new(config.server.threads, limits)?;
    let metrics = Metrics::new(Registry::new()).context("metrics")?;
    let transport = Arc::new(Transport::new(config.server.threads));
    let (shadows, comparer) = shadows();
    let resources = Resources { metrics, transport, shadows, doubts: Arc::default() };
    let builder = GenerationBuilder { conf, runtime, resources };
    let snapshot = builder.prepare(config, None, progress)?;
    Ok(Prepared { builder, comparer, snapshot })
}

/// Raises the limit of open files to the hard one. The soft limit is low only for programs that use
/// `select`. The default `max_connections` is derived from the hard one.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((files, _)) if files < FEW_FILES => tracing::warn!(
            files,
            "few files may be opened: clients can take what endpoints, reloads and the admin address need; raise the limit (ulimit -n) to 1,024 or more"
        ),
        _ => {}
    }
}

/// Runs until a signal ends the process.
///
/// # Errors
/// When an address can't be listened on.
pub fn run(prepared: Prepared, signals: Signals, log: Arc<Log>) -> anyhow::Result<()> {
    let Prepared { builder, comparer, snapshot } = prepared;
    let config = Arc::clone(&snapshot.config);
    let sockets = bind_all(&config)?;
    snapshot.warnings(clock::wall_secs()).iter().for_each(|warning| tracing::warn!("{warning}"));
    dns::resolve_new(&snapshot);
    let metrics = Arc::clone(&builder.resources.metrics);
    let doubts = Arc::clone(&builder.resources.doubts);
    let generation = snapshot.generation;
    let published = Arc::new(Published::new(snapshot, Arc::clone(&metrics)));
    let started = RestartSettings::of(&config);
    let reloader = Reloader { builder, started, published: Arc::clone(&published) };
    let (handle, requests) = queue();
    std::thread::Builder::new().name("reload".into()).spawn(move || reloader.run(requests))?;
    std::thread::Builder::new().name("shadow".into()).spawn(move || comparer.run())?;
    signals.reload_on_hangup(handle.clone())?;
    let watcher = plugin_watcher(Arc::clone(&published), handle.clone());

    let mut server = Server::new_with_opt_and_conf(None, pingora_conf());
    server.bootstrap();
    let access = Arc::clone(log.access());
    let proxy = ProxyService::new(Arc::clone(&published), Arc::clone(&metrics), access).context("random numbers")?;
    let shutdown = Shutdown { in_flight: Arc::clone(&proxy.in_flight), published: Arc::clone(&published), log };
    let listen: Vec<SocketAddr> = config.server.all_listeners().map(|listener| listener.address).collect();
    let listeners = listen_on(sockets, &config)?;
    server.add_service(Acceptor::new(listeners, config.server.threads, proxy).context("worker threads")?);
    server.add_service(admin_service(&config, Arc::clone(&published), metrics, handle));
    server.add_service(background_service("health", HealthChecker::new(Arc::clone(&published), doubts)));
    server.add_service(background_service("watcher", watcher));
    server.add_service(background_service("housekeeping", Housekeeper { published }));
    tracing::info!(generation, ?listen, admin = %config.admin.listen, "serving");
    server.run(RunArgs { shutdown_signal: Box::new(shutdown) });
    Ok(())
}

fn pingora_conf() -> ServerConf {
    ServerConf {
        // A fork would lose the threads that are already running.
        daemon: false,
        grace_period_seconds: Some(PINGORA_GRACE_SECS),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

fn admin_service(
    config: &Config,
    published: Arc<Published>,
    metrics: Arc<Metrics>,
    reload: ReloadHandle,
) -> Service<AdminServer> {
    let app = AdminService { published, metrics, reload: Box::new(reload) };
    let mut service = Service::new("admin".into(), AdminServer::new(app));
    service.add_tcp(&config.admin.listen.to_string());
    service.threads = Some(1);
    service
}

fn plugin_watcher(published: Arc<Published>, reload: ReloadHandle) -> PluginWatcher {
    PluginWatcher { published, reload: Box::new(move || reload.request()) }
}

#[async_trait]
impl Reload for ReloadHandle {
    async fn reload(&self) -> Option<ReloadReport> {
        self.request_and_wait(Trigger::Reload).await
    }

    async fn rollback(&self) -> Option<ReloadReport> {
        self.request_and_wait(Trigger::Rollback).await
    }

    fn under_way(&self) -> Option<UnderWay> {
        ReloadHandle::under_way(self)
    }
}

/// Binds the sockets for clients, which don't listen yet. The admin address is tried here, because
/// Pingora panics in a task instead of returning an error.
fn bind_all(config: &Config) -> anyhow::Result<Vec<Socket>> {
    let admin = config.admin.listen;
    TcpListener::bind(admin).with_context(|| format!("admin.listen: can't listen on {admin}"))?;
    let bind_one = |(key, listener): (&str, Listener)| {
        bind(listener.address).with_context(|| format!("{key}: can't listen on {}", listener.address))
    };
    keyed_listeners(config).map(bind_one).collect()
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of the previous process may still linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Clients find the ports open from here on. Another process may have taken one since: an address
/// can be bound again as long as no socket listens.
fn listen_on(sockets: Vec<Socket>, config: &Config) -> anyhow::Result<Vec<Bound>> {
    let listen = |(socket, (key, listener)): (Socket, (&str, Listener))| {
        socket.listen(BACKLOG).with_context(|| format!("{key}: can't listen on {}", listener.address))?;
        Ok(Bound { socket: socket.into(), listener })
    };
    sockets.into_iter().zip(keyed_listeners(config)).map(listen).collect()
}

/// All listeners with the keys of the conf that name them.
fn keyed_listeners(config: &Config) -> impl Iterator<Item = (&'static str, Listener)> {
    let short = config.server.listen.len();
    let key = move |index| if index < short { "server.listen" } else { "server.listeners" };
    config.server.all_listeners().enumerate().map(move |(index, listener)| (key(index), listener))
}

/// SIGHUP, handled from the very start: without a handler it would end the process.
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    hangup: Signal,
}

impl Signals {
    /// Installs the handler.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub fn install() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
        Ok(Signals { runtime, hangup })
    }

    fn reload_on_hangup(mut self, reload: ReloadHandle) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || {
            self.runtime.block_on(async {
                while self.hangup.recv().await.is_some() {
                    reload.request();
                }
            });
        })?;
        Ok(())
    }
}

/// The signals that end the process, and a shutdown's state.
struct Shutdown {
    in_flight: Arc<AtomicUsize>,
    published: Arc<Published>,
    log: Arc<Log>,
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let [Ok(mut term), Ok(mut int), Ok(mut quit)] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()].map(signal)
        else {
            tracing::error!("signal handlers can't be installed: the process ends by SIGKILL only");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => {
                tracing::info!("interrupted, ending at once");
                return ShutdownSignal::FastShutdown;
            }
            _ = term.recv() => {}
            _ = quit.recv() => {}
        }
        let grace = self.published.load().config.server.shutdown_grace;
        let (in_flight, log) = (Arc::clone(&self.in_flight), Arc::clone(&self.log));
        let requests = in_flight.load(Relaxed);
        tracing::info!(requests, ?grace, "draining: waiting for {requests} requests");
        // Pingora closes the listeners as soon as this returns, and then only sleeps.
        std::thread::spawn(move || drain_and_exit(&in_flight, grace, &log));
        ShutdownSignal::GracefulTerminate
    }
}

fn drain_and_exit(in_flight: &AtomicUsize, grace: Duration, log: &Log) {
    let end = Instant::now() + grace;
    // At least one period: Pingora needs a moment to stop accepting.
    std::thread::sleep(DRAIN_PERIOD);
    while in_flight.load(Relaxed) > 0 && Instant::now() < end {
        std::thread::sleep(DRAIN_PERIOD);
    }
    match in_flight.load(Relaxed) {
        0 => tracing::info!("drained: all requests are answered"),
        left => tracing::warn!(left, "shutdown_grace is over: ending with requests in flight"),
    }
    log.flush();
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_another_process_takes_meanwhile_is_told() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap().as_socket().unwrap();
        let second = bind(address).unwrap();
        let text = format!("[server]\nlisten = ['{address}']\n[[upstreams.u.endpoints]]\nurl = 'http://h'");
        let config = config::parse(&text, std::path::Path::new("a.toml"), &|_| None).unwrap();
        let _listening = listen_on(vec![first], &config).unwrap();
        let error = listen_on(vec![second], &config).map(drop).unwrap_err().to_string();
        assert_eq!(error, format!("server.listen: can't listen on {address}"));
    }
}
