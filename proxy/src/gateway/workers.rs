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
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Lanes;
use super::listener::{Opener, plain};
use super::{ConnectionCount, ProxyService};
use crate::config::Listener;
use crate::worker::become_worker;

/// Pause in accepting when the process has no file descriptor left (nginx's `accept_mutex_delay`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Time for the workers to close shed connections.
const SHED_PAUSE: Duration = Duration::from_millis(1);

/// Accepts connections and assigns them to the workers.
pub struct Acceptor {
    listeners: Vec<Bound>,
    workers: Workers,
    opener: Arc<Opener>,
}

/// A socket that listens, and its settings from the start of the process.
pub struct Bound {
    /// The socket.
    pub socket: StdListener,
    /// The settings.
    pub listener: Listener,
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
    peer: SocketAddr,
    listener: Arc<Listener>,
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
    pub fn new(listeners: Vec<Bound>, workers: usize, service: ProxyService) -> io::Result<Self> {
        let opener = Arc::new(Opener::new(Arc::new(service)));
        let workers = (0..workers).map(|number| Worker::start(number, Arc::clone(&opener)));
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Acceptor { listeners, workers: Workers { workers, next: AtomicUsize::new(0) }, opener })
    }
}

#[async_trait]
impl Service for Acceptor {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let accepting =
            self.listeners.drain(..).map(|listener| accept(listener, &self.workers, &self.opener, shutdown.clone()));
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
async fn accept(bound: Bound, workers: &Workers, opener: &Opener, mut shutdown: ShutdownWatch) {
    let (listener, connections) = (Arc::new(bound.listener), &opener.service.connections);
    let socket = match TcpListener::from_std(bound.socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "can't accept connections"),
    };
    loop {
        while connections.is_behind() {
            tokio::time::sleep(SHED_PAUSE).await;
        }
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = shutdown.wait_for(|ending| *ending) => return,
        };
        let placed = accepted.and_then(|(socket, peer)| {
            // A refused client gets no response: its socket is dropped.
            let Ok(seat) = opener.admit(&listener, peer) else { return Ok(()) };
            let (socket, listener, shutdown) = (socket.into_std()?, Arc::clone(&listener), shutdown.clone());
            workers.place(|share| Accepted { socket, peer, listener, shutdown, seat, share })
        });
        match placed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                tracing::debug!(%error, "a client was gone before it was accepted");
            }
            Err(error) => {
                connections.lack_files();
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Worker {
    fn start(number: usize, opener: Arc<Opener>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (inbox, accepted) = unbounded_channel();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            become_worker(number);
            runtime.block_on(work(accepted, opener));
        })?;
        Ok(Worker { inbox, connections: Arc::default() })
    }
}

/// A worker's event loop.
async fn work(mut accepted: UnboundedReceiver<Accepted>, opener: Arc<Opener>) {
    let lanes = Arc::new(Lanes::new(Arc::clone(&opener.service)));
    while let Some(accepted) = accepted.recv().await {
        drop(tokio::spawn(serve(Arc::clone(&opener), Arc::clone(&lanes), accepted)));
    }
    // Accepting has ended. Open connections are served until the process ends.
    std::future::pending().await
}

/// Serves a connection to its end.
async fn serve(opener: Arc<Opener>, lanes: Arc<Lanes>, accepted: Accepted) {
    let Accepted { socket, peer, listener, shutdown, seat, share: _share } = accepted;
    // It is registered already: this doesn't fail as long as the process has memory.
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    let stream = match listener.tls.is_some() || listener.proxy_protocol {
        // Boxed, so that an idle connection has no room for it.
        true => Box::pin(opener.open(&listener, socket, peer, &seat)).await,
        false => plain(socket, peer),
    };
    if let Some(stream) = stream {
        lanes.serve(stream, listener.http2, seat, shutdown).await;
    }
}

impl Workers {
    /// Assigns a connection to the worker with the fewest; ties rotate.
    fn place(&self, connection: impl FnOnce(Share) -> Accepted) -> io::Result<()> {
        let start = self.next.fetch_add(1, Relaxed) % self.workers.len();
        let (before, after) = self.workers.split_at(start);
        let fewest = after.iter().chain(before).min_by_key(|worker| worker.connections.load(Relaxed));
        let worker = fewest.ok_or(io::ErrorKind::NotConnected)?;
        worker.inbox.send(connection(Share::of(worker))).map_err(|_| io::ErrorKind::NotConnected.into())
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

    use super::super::{Connections, Most};
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
        let cleartext = Arc::new(Listener::cleartext(address));
        let place = |times: usize| {
            for _ in 0..times {
                let seat = connections.enter(address.ip(), most).unwrap();
                let (socket, listener) = (StdStream::connect(address).unwrap(), Arc::clone(&cleartext));
                let (peer, shutdown) = (address, shutdown.clone());
                let placed = workers.place(|share| Accepted { socket, peer, listener, shutdown, seat, share });
                placed.unwrap();
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
