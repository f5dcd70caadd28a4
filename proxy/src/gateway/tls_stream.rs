//! A client's connection with TLS, for Pingora's sessions.
//!
//! Writes are gathered above TLS, so that a small answer is one record and one packet. Pingora has a
//! stream of its own, which writes a record for each piece and hides why a handshake failed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server;

use crate::client::{Gathered, socket_digest};

/// A connection whose handshake is over.
pub(super) struct TlsStream {
    io: Gathered<server::TlsStream<TcpStream>>,
    socket: Arc<SocketDigest>,
    session: Arc<SslDigest>,
}

impl TlsStream {
    /// `client` is the other side's address.
    ///
    /// # Errors
    /// When the connection is broken already.
    pub(super) fn new(stream: server::TlsStream<TcpStream>, client: SocketAddr) -> io::Result<Self> {
        let (socket, session) = stream.get_ref();
        let socket = socket_digest(socket, client)?;
        let session = Arc::new(session_digest(session));
        Ok(TlsStream { io: Gathered::new(stream), socket, session })
    }
}

fn session_digest(session: &ServerConnection) -> SslDigest {
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let version = session.protocol_version().and_then(|version| version.as_str());
    let client = session.peer_certificates().and_then(<[_]>::first);
    let client = client.map(|certificate| Sha256::digest(certificate).to_vec());
    SslDigest::new(suite.unwrap_or_default(), version.unwrap_or_default(), None, None, client.unwrap_or_default())
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    async fn shutdown(&mut self) {
        // The client may have closed first.
        AsyncWriteExt::shutdown(self).await.ok();
    }
}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().get_ref().0.as_raw_fd()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl Ssl for TlsStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.session))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.io.get_ref().get_ref().1.alpn_protocol()? {
            b"h2" => Some(ALPN::H2),
            b"http/1.1" => Some(ALPN::H1),
            _ => None,
        }
    }
}

impl Peek for TlsStream {}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use testkit::{Authority, TlsClient};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// Records the bytes that it reads.
    struct Tap(TcpStream, Arc<Mutex<Vec<u8>>>);

    impl AsyncRead for Tap {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            let read = Pin::new(&mut self.0).poll_read(cx, buf);
            self.1.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
            read
        }
    }

    impl AsyncWrite for Tap {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// The lengths of the records in `bytes`.
    fn records(mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let [_, _, _, high, low, rest @ ..] = bytes {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            lengths.push(length);
            bytes = &rest[length..];
        }
        lengths
    }

    #[tokio::test]
    async fn a_small_answer_is_one_record() {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tapped = Arc::new(Mutex::new(Vec::new()));
        let tap = Tap(TcpStream::connect(address).await.unwrap(), Arc::clone(&tapped));
        let (socket, client) = listener.accept().await.unwrap();
        let connector = TlsConnector::from(TlsClient::trusting(&authority).config());
        let connecting = connector.connect(ServerName::try_from("a.example").unwrap(), tap);
        let accepting = TlsAcceptor::from(authority.issue("a.example")).accept(socket);
        let (mut reader, accepted) = tokio::try_join!(connecting, accepting).unwrap();
        let mut stream = TlsStream::new(accepted, client).unwrap();
        assert_eq!(stream.get_socket_digest().unwrap().peer_addr().unwrap().as_inet(), Some(&client));
        assert_eq!(stream.selected_alpn_proto(), None);
        // Session tickets come before the first answer.
        let mut answer = [0; 300];
        for _ in 0..3 {
            tapped.lock().unwrap().clear();
            stream.write_all(&[b'h'; 200]).await.unwrap();
            stream.write_all(&[b'b'; 100]).await.unwrap();
            stream.flush().await.unwrap();
            reader.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..], [[b'h'; 100], [b'h'; 100], [b'b'; 100]].concat());
        }
        // A byte for the kind of the content, and 16 for the seal.
        assert_eq!(records(&tapped.lock().unwrap()), [300 + 17]);
    }
}
