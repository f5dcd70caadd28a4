//! An origin in this process that answers by a script and records its requests.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::answer::{Answer, End};
use crate::http::{Head, dechunk};
use crate::wait::wait_for;

/// All origins of the process.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});
/// Pause between the writes of an answer in pieces: long enough for separate reads.
const PIECE_PAUSE: Duration = Duration::from_millis(1);
/// Minimum size of each write of an endless answer.
const FOREVER_BYTES: usize = 16 << 10;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number at this origin, from 1.
    pub number: usize,
    /// The number of its connection, from 1.
    pub connection: usize,
    /// Its number on that connection, from 1.
    pub nth: usize,
    /// The head.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The JSON-RPC method of a single request.
    pub fn method(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["method"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An origin's treatment of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Reads requests.
    Serve,
    /// Resets it when a request arrives, without reading.
    Reset,
    /// Never reads.
    Ignore,
    /// Sends this when a request arrives, and closes the connection without reading.
    Answer(&'static str),
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// An origin. It ends when it is dropped.
pub struct Origin {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

enum State {
    Running(AbortHandle),
    /// Bound but not listening: connections are refused, and the port stays reserved.
    Stopped(#[expect(dead_code, reason = "it holds the port")] TcpSocket),
}

struct Shared {
    script: Mutex<Script>,
    greeting: Mutex<Greeting>,
    tls: Option<Arc<ServerConfig>>,
    requests: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    abandoned: AtomicUsize,
    answered: AtomicUsize,
    forgets: AtomicBool,
}

impl Origin {
    /// An origin whose every result is its name.
    pub fn start(name: &str) -> Origin {
        let result = Answer::result(name);
        Origin::scripted(name, move |_| result.clone())
    }

    /// An origin that answers by `script`.
    pub fn scripted(name: &str, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Origin {
        Origin::launch(name, Arc::new(script), None)
    }

    /// An origin that always answers like this.
    pub fn always(name: &str, answer: Answer) -> Origin {
        Origin::scripted(name, move |_| answer.clone())
    }

    /// An origin behind TLS, whose every result is its name.
    pub fn start_tls(name: &str, config: Arc<ServerConfig>) -> Origin {
        let result = Answer::result(name);
        Origin::launch(name, Arc::new(move |_: &Request| result.clone()), Some(config))
    }

    /// An origin that is stopped: its port refuses connections.
    pub fn refusing(name: &str) -> Origin {
        let origin = Origin::start(name);
        origin.stop();
        origin
    }

    fn launch(name: &str, script: Script, tls: Option<Arc<ServerConfig>>) -> Origin {
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            greeting: Mutex::new(Greeting::Serve),
            tls,
            requests: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            forgets: AtomicBool::new(false),
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = RUNTIME.block_on(TcpListener::bind(any)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let running = RUNTIME.spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Origin { name: name.to_owned(), address, shared, state: Mutex::new(State::Running(running)) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// From now on it answers by `script`.
    pub fn script(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// From now on it always sends this answer.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// From now on it doesn't record requests: for tests with very many.
    pub fn forget(&self) {
        self.shared.forgets.store(true, SeqCst);
    }

    /// From now on it treats new connections this way.
    pub fn greet(&self, greeting: Greeting) {
        *self.shared.greeting.lock().unwrap() = greeting;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The number of requests so far.
    pub fn hits(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// The last request.
    pub fn last(&self) -> Request {
        self.shared.requests.lock().unwrap().last().expect("a request has arrived").clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Requests whose connection was closed by the client before the answer began.
    pub fn abandoned(&self) -> usize {
        self.shared.abandoned.load(SeqCst)
    }

    /// Answers that were written completely or until the connection broke.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(SeqCst)
    }

    /// Closes all connections and refuses new ones.
    pub fn stop(&self) {
        let mut state = self.state.lock().unwrap();
        let State::Running(running) = &*state else { return };
        running.abort();
        let socket = wait_for("the origin's port is free", || {
            let _guard = RUNTIME.enter();
            let socket = TcpSocket::new_v4().ok()?;
            socket.set_reuseaddr(true).ok()?;
            socket.bind(self.address).ok()?;
            (self.open_connections() == 0).then_some(socket)
        });
        *state = State::Stopped(socket);
    }

    /// Serves again, at the same port.
    pub fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        let listener =
            wait_for("the origin has its port again", || RUNTIME.block_on(TcpListener::bind(self.address)).ok());
        let running = RUNTIME.spawn(accept(listener, Arc::clone(&self.shared))).abort_handle();
        *state = State::Running(running);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Ok(State::Running(running)) = self.state.get_mut() {
            running.abort();
        }
    }
}

/// The connections are child tasks of this one and end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.accepted.fetch_add(1, SeqCst) + 1;
        let open = Open::new(&shared);
        connections.spawn(async move { open.0.serve(stream, number).await });
        while connections.try_join_next().is_some() {}
    }
}

struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Open {
        shared.open.fetch_add(1, SeqCst);
        Open(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// A connection, plain or TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Shared {
    async fn serve(&self, stream: TcpStream, connection: usize) {
        let greeting = *self.greeting.lock().unwrap();
        let _ = stream.set_nodelay(true);
        match (greeting, &self.tls) {
            (Greeting::Reset, _) => {
                // Earlier, connecting itself might fail.
                let _ = stream.peek(&mut [0]).await;
                let _ = stream.set_zero_linger();
            }
            (Greeting::Ignore, _) => pending().await,
            (Greeting::Answer(text), _) => {
                let mut stream = stream;
                let _ = stream.peek(&mut [0]).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
            (Greeting::Serve, None) => self.converse(stream, connection).await,
            (Greeting::Serve, Some(tls)) => {
                if let Ok(stream) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await {
                    self.converse(stream, connection).await;
                }
            }
        }
    }

    async fn converse(&self, mut wire: impl Wire, connection: usize) {
        let mut buffer = Vec::new();
        for nth in 1.. {
            let Some((head, body)) = read_request(&mut wire, &mut buffer).await else { return };
            let request = self.record(head, body, connection, nth);
            let script = Arc::clone(&self.script.lock().unwrap());
            let answer = script(&request);
            if is_left(&mut wire, &mut buffer, answer.due()).await {
                self.abandoned.fetch_add(1, SeqCst);
                return;
            }
            let written = write(&mut wire, &answer.bytes(&request), answer.piece).await;
            self.answered.fetch_add(1, SeqCst);
            if written.is_err() {
                return;
            }
            match answer.end {
                End::KeepAlive => {}
                End::Forever(text) => {
                    let piece = text.repeat(FOREVER_BYTES / text.len() + 1);
                    while wire.write_all(piece.as_bytes()).await.is_ok() {}
                    return;
                }
                End::Trickle(text, pause) => {
                    while wire.write_all(text.as_bytes()).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                    return;
                }
                End::Close => return,
                End::Reset => {
                    let _ = wire.tcp().set_zero_linger();
                    return;
                }
                End::Hang => {
                    is_left(&mut wire, &mut buffer, pending()).await;
                    self.abandoned.fetch_add(1, SeqCst);
                    return;
                }
            }
        }
    }

    fn record(&self, head: Head, body: Vec<u8>, connection: usize, nth: usize) -> Request {
        let mut requests = self.requests.lock().unwrap();
        let request = Request { number: requests.len() + 1, connection, nth, head, body };
        if !self.forgets.load(SeqCst) {
            requests.push(request.clone());
        }
        request
    }
}

/// The next request; `None` at the end of the connection. Bytes after it stay in `buffer`.
async fn read_request(wire: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<(Head, Vec<u8>)> {
    let (head, start) = loop {
        if let Some(parsed) = Head::parse(buffer) {
            break parsed;
        }
        read_more(wire, buffer).await?;
    };
    while head.is_chunked() {
        if let Some((body, length)) = dechunk(&buffer[start..]) {
            buffer.drain(..start + length);
            return Some((head, body));
        }
        read_more(wire, buffer).await?;
    }
    let end = start + head.content_length().unwrap_or(0);
    while buffer.len() < end {
        read_more(wire, buffer).await?;
    }
    let body = buffer[start..end].to_vec();
    buffer.drain(..end);
    Some((head, body))
}

async fn read_more(wire: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<()> {
    let count = wire.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}

/// Waits; true if the other side closed before.
async fn is_left(wire: &mut impl Wire, buffer: &mut Vec<u8>, wait: impl Future<Output = ()>) -> bool {
    tokio::pin!(wait);
    loop {
        tokio::select! {
            biased;
            () = &mut wait => return false,
            more = read_more(wire, buffer) => if more.is_none() { return true },
        }
    }
}

async fn write(wire: &mut impl Wire, bytes: &[u8], piece: usize) -> std::io::Result<()> {
    if piece == 0 {
        wire.write_all(bytes).await?;
        return wire.flush().await;
    }
    for piece in bytes.chunks(piece) {
        wire.write_all(piece).await?;
        wire.flush().await?;
        tokio::time::sleep(PIECE_PAUSE).await;
    }
    Ok(())
}
