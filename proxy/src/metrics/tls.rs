//! Metrics of TLS with clients, and of the PROXY protocol.

use std::sync::Arc;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::Builder;
use super::live::{Ends, Live};

pub(super) struct TlsMetrics {
    expiry: IntGaugeVec,
    handshakes: IntCounterVec,
    handshake_failures: IntCounterVec,
    proxy_protocol_failures: IntCounterVec,
    /// By listener and certificate.
    live: Live<CertificateSeries>,
}

/// The handle of one certificate of a listener.
pub struct CertificateSeries {
    /// The end of its validity in seconds since the Unix epoch.
    pub expiry: IntGauge,
    _ends: Ends,
}

impl TlsMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        Ok(TlsMetrics {
            expiry: build.gauges(
                "certificate_expiry_seconds",
                "The time when a certificate expires, in seconds since the Unix epoch.",
                &["listener", "certificate"],
            )?,
            handshakes: build.counters(
                "tls_handshakes_total",
                "TLS handshakes with clients that succeeded, by kind.",
                &["kind"],
            )?,
            handshake_failures: build.counters(
                "tls_handshake_failures_total",
                "TLS handshakes with clients that failed, by reason.",
                &["reason"],
            )?,
            proxy_protocol_failures: build.counters(
                "proxy_protocol_failures_total",
                "Connections without a good header of the PROXY protocol, by reason.",
                &["reason"],
            )?,
            live: Live::default(),
        })
    }

    /// The handle of a certificate, shared by all holders.
    pub(super) fn certificate(&self, listener: &str, certificate: &str) -> Arc<CertificateSeries> {
        self.live.get_or_make(&[listener, certificate], |subject, ends| CertificateSeries {
            expiry: subject.of(&self.expiry),
            _ends: ends,
        })
    }

    pub(super) fn count_handshake(&self, resumed: bool) {
        self.handshakes.with_label_values(&[if resumed { "resumed" } else { "full" }]).inc();
    }

    pub(super) fn count_handshake_failure(&self, reason: &'static str) {
        self.handshake_failures.with_label_values(&[reason]).inc();
    }

    pub(super) fn count_proxy_protocol_failure(&self, reason: &'static str) {
        self.proxy_protocol_failures.with_label_values(&[reason]).inc();
    }
}
