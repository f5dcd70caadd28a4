//! Keys that later versions will support. A user who writes one has read about it, so the message
//! must not suggest a typo.

/// The keys, by their table.
pub(super) const PLANNED: &[(&str, &[&str])] = &[
    ("", &["clients", "include", "watch", "state_file", "client_key", "cors"]),
    ("server", &["trusted_proxies", "max_connections", "max_buffered", "client_key", "cors", "state_file"]),
    ("admin", &["hosts", "tls"]),
    ("plugins", &["on_error", "verify"]),
    (
        "upstreams",
        &[
            "tls",
            "http2",
            "consistency",
            "consistency_wait",
            "empty",
            "learn_limits",
            "broadcast",
            "record",
            "explore",
            "client_key",
            "cors",
        ],
    ),
    ("upstreams.client", &["tls", "http2"]),
    ("upstreams.endpoints", &["tls", "http2"]),
    (
        "routes",
        &[
            "hosts",
            "strip_prefix",
            "replace_prefix",
            "request_headers",
            "response_headers",
            "respond",
            "client_key",
            "cors",
        ],
    ),
];
