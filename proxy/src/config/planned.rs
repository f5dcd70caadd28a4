//! Keys that later versions will support. A user who writes one has read about it, so the message
//! must not suggest a typo.

/// The keys, by their table.
pub(super) const PLANNED: &[(&str, &[&str])] = &[
    ("", &["clients", "include", "watch", "state_file"]),
    ("server", &["max_connections", "max_buffered", "state_file"]),
    ("admin", &["hosts", "tls"]),
    ("plugins", &["on_error", "verify"]),
    ("upstreams", &["consistency", "consistency_wait", "empty", "learn_limits", "broadcast", "record", "explore"]),
];
