//! The simulated endpoints as servers: Pingora's HTTP on our own listeners, which can close and
//! reopen.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::ServerApp;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::node::{Bucket, Reaction, SCRIPTS, Script, answer};

/// How often an endpoint checks whether its script is up or down.
const PHASE_PERIOD: Duration = Duration::from_millis(100);
/// The `Retry-After` of a refusal, in seconds.
const RETRY_AFTER: &str = "1";

/// The running endpoints.
pub(super) struct Nodes {
    addresses: Vec<SocketAddr>,
}

impl Nodes {
    /// Starts all endpoints on free ports of the loopback interface, in a thread of their own.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bind = |_| runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listeners: Vec<TcpListener> = SCRIPTS.iter().map(bind).collect::<io::Result<_>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let nodes: Vec<Node> = SCRIPTS.into_iter().map(Node::new).collect();
        std::thread::Builder::new().name("endpoints".into()).spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                nodes.into_iter().zip(listeners).for_each(|(node, listener)| _ = tasks.spawn(node.run(listener)));
                tasks.join_all().await;
            });
        })?;
        Ok(Nodes { addresses })
    }

    /// Their addresses, in the order of [`SCRIPTS`].
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

struct Node {
    app: Arc<HttpServer<App>>,
    script: Script,
    began: Instant,
}

impl Node {
    fn new(script: Script) -> Self {
        let began = Instant::now();
        let app = Arc::new(HttpServer::new_app(App { script, began, bucket: Mutex::default() }));
        Node { app, script, began }
    }

    /// Serves while the script is up. When it goes down, its connections and their requests in
    /// flight are cut.
    async fn run(self, listener: TcpListener) {
        let Ok(address) = listener.local_addr() else { return };
        let mut listener = Some(listener);
        loop {
            if let Some(listener) = listener.take() {
                self.serve(&listener).await;
            }
            sleep(PHASE_PERIOD).await;
            if self.is_up() {
                // Another process may have taken the port meanwhile; it is retried then.
                listener = TcpListener::bind(address).await.ok();
            }
        }
    }

    async fn serve(&self, listener: &TcpListener) {
        // These servers run until the process ends: the watch never changes.
        let (_sender, shutdown) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut ticks = interval(PHASE_PERIOD);
        while self.is_up() {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((connection, _)) = accepted {
                        connections.spawn(converse(Arc::clone(&self.app), connection, shutdown.clone()));
                    }
                }
                _ = ticks.tick() => {}
            }
            while connections.try_join_next().is_some() {}
        }
    }

    fn is_up(&self) -> bool {
        self.script.is_up(self.began.elapsed())
    }
}

async fn converse(app: Arc<HttpServer<App>>, connection: TcpStream, shutdown: ShutdownWatch) {
    // Otherwise a small response may wait for an acknowledgement.
    let _ = connection.set_nodelay(true);
    let mut stream: Option<Stream> = Some(Box::new(pingora::protocols::l4::stream::Stream::from(connection)));
    while let Some(open) = stream.take() {
        stream = app.process_new(open, &shutdown).await;
    }
}

struct App {
    script: Script,
    began: Instant,
    bucket: Mutex<Bucket>,
}

#[async_trait]
impl ServeHttp for App {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = session.read_request_body().await {
            body.extend_from_slice(&piece);
        }
        let elapsed = self.began.elapsed();
        let reaction = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            self.script.react(fastrand::f64(), &mut bucket, elapsed)
        };
        sleep(self.script.delay(fastrand::f64())).await;
        let request = serde_json::from_slice(&body).unwrap_or_default();
        match reaction {
            Reaction::Answer => respond(StatusCode::OK, answer(&request, false, elapsed).to_string()),
            Reaction::InternalError => respond(StatusCode::OK, answer(&request, true, elapsed).to_string()),
            Reaction::ServerError => respond(StatusCode::INTERNAL_SERVER_ERROR, "out of order".into()),
            Reaction::TooMany => respond(StatusCode::TOO_MANY_REQUESTS, "slow down".into()),
        }
    }
}

fn respond(status: StatusCode, body: String) -> Response<Vec<u8>> {
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len());
    if status == StatusCode::TOO_MANY_REQUESTS {
        response = response.header(header::RETRY_AFTER, RETRY_AFTER);
    }
    // The parts above are constants and numbers: they always make a valid response.
    response.body(body.into_bytes()).unwrap_or_default()
}
