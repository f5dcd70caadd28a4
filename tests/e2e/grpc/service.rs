//! A gRPC server, by tonic. Messages are bytes, so no code is generated.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _, service_fn};

/// All servers and clients of the process.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});
/// No failure.
const FINE: i32 = 0;

/// Bytes as messages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let size = from.remaining();
        Ok(Some(from.copy_to_bytes(size)))
    }
}

/// A server. It ends when it is dropped: at once, and its connections with it.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    stop: Arc<Notify>,
    task: Option<tokio::task::JoinHandle<()>>,
    /// Of its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

/// What a server was asked, and how it answers.
pub(crate) struct Shared {
    name: String,
    health: HealthReporter,
    calls: AtomicUsize,
    /// Streams that were given up before their end.
    abandoned: AtomicUsize,
    /// The status of each call, and whether a message comes before it.
    status: AtomicI32,
    late: AtomicUsize,
    /// The headers of the last call.
    headers: Mutex<BTreeMap<String, String>>,
    connections: Mutex<Vec<SocketAddr>>,
}

impl Node {
    pub(crate) fn start(name: &str) -> Node {
        Node::launch(name, "127.0.0.1:0".parse().unwrap(), None)
    }

    pub(crate) fn start_tls(name: &str, tls: ServerTlsConfig) -> Node {
        Node::launch(name, "127.0.0.1:0".parse().unwrap(), Some(tls))
    }

    pub(crate) fn start_at(name: &str, address: SocketAddr) -> Node {
        Node::launch(name, address, None)
    }

    fn launch(name: &str, address: SocketAddr, tls: Option<ServerTlsConfig>) -> Node {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let inside = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1_024).unwrap();
        let address = listener.local_addr().unwrap();
        let (health, health_service) = tonic_health::server::health_reporter();
        let shared = Arc::new(Shared::new(name, health));
        shared.set_serving("test.Echo", true);
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let stop = Arc::new(Notify::new());
        let health = BoxCloneSyncService::new(health_service);
        let (echo, stopping) = (Echo { shared: Arc::clone(&shared), health }, Arc::clone(&stop));
        let task = runtime.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let served = server.serve_with_incoming_shutdown(echo, incoming, async move { stopping.notified().await });
            served.await.expect("a server");
        });
        drop(inside);
        Node { address, shared, stop, task: Some(task), runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(SeqCst)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.shared.abandoned.load(SeqCst)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.shared.headers.lock().unwrap().get(name).cloned()
    }

    /// Connections that calls came over.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// Ends each call with this status, after `messages` messages.
    pub(crate) fn fail(&self, code: Code, messages: usize) {
        self.shared.late.store(messages, SeqCst);
        self.shared.status.store(code as i32, SeqCst);
    }

    pub(crate) fn set_serving(&self, service: &str, serves: bool) {
        self.shared.set_serving(service, serves);
    }

    pub(crate) fn recover(&self) {
        self.shared.status.store(FINE, SeqCst);
    }

    /// Ends like a server that is deployed anew: `GOAWAY`, then its calls come to their ends.
    pub(crate) fn stop_gracefully(mut self) {
        self.stop.notify_one();
        RUNTIME.block_on(self.task.take().unwrap()).unwrap();
    }

    /// Ends it with its connections.
    pub(crate) fn kill(self) {}
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// The service.
#[derive(Clone)]
struct Echo {
    shared: Arc<Shared>,
    health: BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>,
}

impl Shared {
    fn new(name: &str, health: HealthReporter) -> Shared {
        Shared {
            name: name.to_owned(),
            health,
            calls: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            status: AtomicI32::new(FINE),
            late: AtomicUsize::new(0),
            headers: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    fn set_serving(&self, service: &str, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        futures_util::FutureExt::now_or_never(self.health.set_service_status(service, status)).expect("no waiting");
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Counts a stream that is dropped before its end.
struct Watched(Arc<Shared>, bool);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abandoned.fetch_add(usize::from(!self.1), SeqCst);
    }
}

impl Echo {
    fn outcome(&self) -> Result<(), Status> {
        match self.shared.status.load(SeqCst) {
            FINE => Ok(()),
            code => Err(Status::new(Code::from(code), "as the test says")),
        }
    }

    fn reply(&self, message: &[u8]) -> Bytes {
        [self.shared.name.as_bytes(), b":", message].concat().into()
    }

    async fn unary(self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.outcome()?;
        let mut response = Response::new(self.reply(request.get_ref()));
        response.metadata_mut().insert_bin("x-own-bin", tonic::metadata::MetadataValue::from_bytes(b"\x00\xff"));
        Ok(response)
    }

    /// `COUNT SIZE PAUSE_MS`: sends as many messages of this size, with a pause before each.
    async fn download(self, request: Request<Bytes>) -> Result<Response<Outgoing>, Status> {
        let numbers = String::from_utf8_lossy(request.get_ref()).into_owned();
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let [count, size, pause] = numbers[..] else { return Err(Status::invalid_argument("COUNT SIZE PAUSE_MS")) };
        let (failure, late) = (self.outcome().err(), self.shared.late.load(SeqCst));
        if failure.is_some() && late == 0 {
            self.outcome()?;
        }
        let message = Bytes::from(vec![b'x'; usize::try_from(size).unwrap()]);
        let watched = Watched(Arc::clone(&self.shared), false);
        let stream = stream::unfold((0, watched), move |(sent, mut watched)| {
            let (message, failure) = (message.clone(), failure.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if failure.is_some() && sent >= late as u64 {
                    watched.1 = true;
                    return (sent == late as u64).then(|| (Err(failure.unwrap()), (sent + 1, watched)));
                }
                watched.1 |= sent == count;
                (sent < count).then_some((Ok(message), (sent + 1, watched)))
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn upload(self, request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
        let mut messages = request.into_inner();
        let (mut count, mut size) = (0, 0);
        while let Some(message) = messages.message().await? {
            (count, size) = (count + 1, size + message.len());
        }
        self.outcome()?;
        Ok(Response::new(self.reply(format!("{count} {size}").as_bytes())))
    }

    async fn chat(self, request: Request<Streaming<Bytes>>) -> Result<Response<Outgoing>, Status> {
        let me = self.clone();
        let replies = request.into_inner().map(move |message| message.map(|message| me.reply(&message)));
        Ok(Response::new(Box::pin(replies)))
    }

    fn record<B>(&self, request: &http::Request<B>) {
        self.shared.calls.fetch_add(1, SeqCst);
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        *self.shared.headers.lock().unwrap() =
            headers.chain([(":uri".to_owned(), request.uri().to_string())]).collect();
        let peer = request.extensions().get::<tonic::transport::server::TcpConnectInfo>();
        let mut connections = self.shared.connections.lock().unwrap();
        if let Some(peer) = peer.and_then(|info| info.remote_addr())
            && !connections.contains(&peer)
        {
            connections.push(peer);
        }
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        echo.record(&request);
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(Raw);
            let path = request.uri().path().to_owned();
            Ok(match path.trim_start_matches("/base") {
                "/test.Echo/Unary" => server.unary(service_fn(move |r| echo.clone().unary(r)), request).await,
                "/test.Echo/Download" => {
                    server.server_streaming(service_fn(move |r| echo.clone().download(r)), request).await
                }
                "/test.Echo/Upload" => {
                    server.client_streaming(service_fn(move |r| echo.clone().upload(r)), request).await
                }
                "/test.Echo/Hang" => std::future::pending().await,
                "/test.Echo/Chat" => server.streaming(service_fn(move |r| echo.clone().chat(r)), request).await,
                path if path.starts_with("/grpc.health") => return echo.health.clone().oneshot(request).await,
                "/plain" => plain(request).await,
                "/html" => http::Response::builder().header("content-type", "text/html").body(Body::empty()).unwrap(),
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Answers an HTTP request with its method and the size of its body.
async fn plain(request: http::Request<Body>) -> http::Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut size = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        size += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    let text = Bytes::from(format!("{} {size} {}", head.method, "y".repeat(100_000)));
    let messages = (head.method != http::Method::HEAD).then_some(Ok::<_, Status>(Frame::data(text)));
    let messages = stream::iter(messages);
    http::Response::builder().header("content-type", "text/plain").body(Body::new(StreamBody::new(messages))).unwrap()
}
