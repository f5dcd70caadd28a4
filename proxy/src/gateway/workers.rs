//! The worker threads, and how connections are assigned to them.
//!
//! Each worker has its own event loop and serves its connections to their end: no task or wake-up
//! of a request crosses threads. A new connection goes to the worker with the fewest, since clients
//! of an RPC proxy are few and stay long.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use pingora_proxy::http_proxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Connection;
use super::connections::Full;
use super::hooks::Gateway;
use super::{ConnectionCount, Most, ProxyService};
use crate::client::PlainStream;
use crate::worker::become_worker;

/// Pause in accepting when the process has no file descriptor left (nginx's `accept_mutex_delay`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Tries of one request in Pingora. The plan of the request and the retry policy end it earlier.
const MAX_TRIES: usize = 1_000;

/// Time for the workers to close shed connections.
const SHED_PAUSE: Duration = Duration::from_millis(1);

/// Accepts connections and assigns them to the workers.
pub struct Acceptor {
    listeners: Vec<StdListener>,
    workers: Workers,
    service: Arc<ProxyService>,
}

/// The worker threads.
struct Workers {
    workers: Vec<Worker>,
    /// The start of the next search for the worker with the fewest connections.
    next: AtomicUsize,
}

struct Worker {
    inbox: UnboundedSender<Accepted>,
    connections: Arc<AtomicUsize>,
}

/// A connection on its way to its worker.
struct Accepted {
    socket: StdStream,
    client: SocketAddr,
    shutdown: ShutdownWatch,
    seat: ConnectionCount,
    share: Share,
}

/// A connection, counted for its worker until it is dropped.
struct Share(Arc<AtomicUsize>);

impl Acceptor {
    /// Starts `workers` threads of `service`, which serve connections of `listeners`.
    ///
    /// # Errors
    /// When a worker can't be started.
    pub fn new(listeners: Vec<StdListener>, workers: usize, service: ProxyService) -> io::Result<Self> {
        let service = Arc::new(service);
        let workers = (0..workers).map(|number| Worker::start(number, Arc::clone(&service)));
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Acceptor { listeners, workers: Workers { workers, next: AtomicUsize::new(0) }, service })
    }
}

#[async_trait]
impl Service for Acceptor {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let accepting =
            self.listeners.drain(..).map(|listener| accept(listener, &self.workers, &self.service, shutdown.clone()));
        join_all(accepting).await;
    }

    fn name(&self) -> &str {
        "acceptor"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Accepts connections until the process shuts down.
async fn accept(listener: StdListener, workers: &Workers, service: &ProxyService, mut shutdown: ShutdownWatch) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "can't accept connections"),
    };
    loop {
        while service.connections.is_behind() {
            tokio::time::sleep(SHED_PAUSE).await;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|ending| *ending) => return,
        };
        let placed = accepted.and_then(|(socket, client)| {
            // A refused client gets no response: its socket is dropped.
            let Ok(seat) = admit(service, client) else { return Ok(()) };
            workers.place(socket.into_std()?, client, seat, &shutdown)
        });
        match placed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                tracing::debug!(%error, "a client was gone before it was accepted");
            }
            Err(error) => {
                service.connections.lack_files();
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Applies the limits of the serving generation.
fn admit(service: &ProxyService, client: SocketAddr) -> Result<ConnectionCount, Full> {
    let server = &service.published.load().config.server;
    let most = Most { in_all: server.max_connections, per_address: server.max_connections_per_address };
    service.connections.enter(client.ip(), most)
}

impl Worker {
    fn start(number: usize, service: Arc<ProxyService>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (inbox, accepted) = unbounded_channel();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            become_worker(number);
            runtime.block_on(work(accepted, service));
        })?;
        Ok(Worker { inbox, connections: Arc::default() })
    }
}

/// A worker's event loop.
async fn work(mut accepted: UnboundedReceiver<Accepted>, service: Arc<ProxyService>) {
    // One for each worker: its connections to endpoints stay on this thread.
    let proxy = Arc::new(http_proxy(&Arc::new(proxy_conf()), Gateway(Arc::clone(&service))));
    while let Some(Accepted { socket, client, shutdown, seat, share }) = accepted.recv().await {
        let connection =
            Connection { service: Arc::clone(&service), proxy: Arc::clone(&proxy), client, seat, shutdown };
        match TcpStream::from_std(socket).and_then(|socket| PlainStream::new(socket, client)) {
            Ok(stream) => drop(tokio::spawn(async move {
                let _share = share;
                connection.serve(Box::new(stream)).await;
            })),
            Err(error) => tracing::debug!(%error, "a client was gone as soon as it came"),
        }
    }
    // Accepting has ended. Open connections are served until the process ends.
    std::future::pending().await
}

/// The settings of Pingora's proxy.
fn proxy_conf() -> ServerConf {
    ServerConf { max_retries: MAX_TRIES, ..ServerConf::default() }
}

impl Workers {
    /// Assigns a connection to the worker with the fewest; ties rotate.
    fn place(
        &self,
        socket: StdStream,
        client: SocketAddr,
        seat: ConnectionCount,
        shutdown: &ShutdownWatch,
    ) -> io::Result<()> {
        let start = self.next.fetch_add(1, Relaxed) % self.workers.len();
        let (before, after) = self.workers.split_at(start);
        let fewest = after.iter().chain(before).min_by_key(|worker| worker.connections.load(Relaxed));
        let worker = fewest.ok_or(io::ErrorKind::NotConnected)?;
        let share = Share::of(worker);
        let accepted = Accepted { socket, client, shutdown: shutdown.clone(), seat, share };
        worker.inbox.send(accepted).map_err(|_| io::ErrorKind::NotConnected.into())
    }
}

impl Share {
    fn of(worker: &Worker) -> Self {
        worker.connections.fetch_add(1, Relaxed);
        Share(Arc::clone(&worker.connections))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::sync::watch;

    use super::super::Connections;
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_connection_goes_to_the_worker_that_has_fewest() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_ending, shutdown) = watch::channel(false);
        let (workers, mut inboxes): (Vec<Worker>, Vec<_>) = (0..3)
            .map(|_| {
                let (inbox, accepted) = unbounded_channel();
                (Worker { inbox, connections: Arc::default() }, accepted)
            })
            .unzip();
        let workers = Workers { workers, next: AtomicUsize::new(0) };
        let connections = Connections::new(Metrics::new(Registry::new()).unwrap());
        let most = Most { in_all: 99, per_address: 99 };
        let place = |times: usize| {
            for _ in 0..times {
                let seat = connections.enter(address.ip(), most).unwrap();
                workers.place(StdStream::connect(address).unwrap(), address, seat, &shutdown).unwrap();
            }
            workers.workers.iter().map(|worker| worker.connections.load(Relaxed)).collect::<Vec<_>>()
        };
        assert_eq!(place(6), [2, 2, 2]);
        // The connections of one worker end.
        while inboxes[1].try_recv().is_ok() {}
        assert_eq!(place(2), [2, 2, 2]);
        assert_eq!(place(3), [3, 3, 3]);
    }
}
