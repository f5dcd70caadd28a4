//! Errors of the files of certificates, keys and authorities.
//!
//! Invariant: no message holds a part of a file, and so none of a private key.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use thiserror::Error;

use crate::files::FileError;

/// A file that a listener or an upstream can't use.
#[derive(Debug, Error)]
#[error("{key}: {} {problem}", file.display())]
pub struct TlsError {
    /// The key of the conf that names the file.
    pub key: String,
    /// The file.
    pub file: PathBuf,
    /// The problem.
    pub problem: Problem,
}

/// Why a file can't be used, and what to do.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file can't be read.
    #[error("{0}")]
    File(FileError),
    /// A section of the file is no PEM.
    #[error("isn't well-formed PEM; is it complete?")]
    NotPem,
    /// No section holds a certificate.
    #[error("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A certificate can't be parsed. The number counts from 1.
    #[error("can't be used: its certificate number {0} can't be parsed")]
    BadCertificate(usize),
    /// No section holds a private key.
    #[error("holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// The private key has a passphrase.
    #[error("is encrypted, and nobody could type its passphrase; decrypt it (openssl pkey -in … -out …)")]
    EncryptedKey,
    /// The private key is broken or of an unsupported kind.
    #[error(
        "holds a private key that can't be used; keys of RSA (2,048 to 8,192 bits), ECDSA (P-256, P-384) and Ed25519 can"
    )]
    BadKey,
    /// The private key is another certificate's.
    #[error(
        "holds a private key that doesn't belong to the first certificate of {}; that file begins with the server's own certificate, and its intermediates follow", chain.display()
    )]
    Mismatch {
        /// The file of the certificate.
        chain: PathBuf,
    },
    /// The certificate isn't valid any more. Seconds since the Unix epoch.
    #[error("holds a certificate that expired on {}; renew it", date(*.0))]
    Expired(i64),
    /// The certificate isn't valid yet. Seconds since the Unix epoch.
    #[error("holds a certificate that isn't valid before {}; is the clock right?", date(*.0))]
    NotYetValid(i64),
    /// The system has no random numbers for session tickets, or Rustls refuses its own defaults.
    #[error("can't be used: {0}")]
    Rustls(tokio_rustls::rustls::Error),
}

/// A time in the form of RFC 3339.
pub(super) fn date(unix_secs: i64) -> String {
    let since = Duration::from_secs(u64::try_from(unix_secs).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
