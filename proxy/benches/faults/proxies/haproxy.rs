//! HAProxy: retries on another server; servers are marked down by request errors and checked until
//! they respond again.

use super::{Setting, THREADS};

/// Its id is not a number, so the ledger ignores it.
const CHECK: &str = r#"{"jsonrpc":"2.0","id":"check","method":"eth_blockNumber","params":[]}"#;

pub fn conf(setting: &Setting<'_>) -> String {
    let listen = setting.site.listen();
    let servers = setting.origins.iter().map(|origin| format!("  server o{} {origin}\n", origin.port()));
    // No retry on 429: `retry-on` of HAProxy 2.6 doesn't accept that status.
    format!(
        "global
  nbthread {THREADS}
  maxconn 4096
defaults
  mode http
  timeout connect 500ms
  timeout server 1s
  timeout check 1s
  timeout queue 1s
  timeout client 30s
  timeout http-keep-alive 60s
  retries 3
  option redispatch 1
  retry-on all-retryable-errors
frontend main
  bind {listen}
  default_backend origins
backend origins
  balance leastconn
  http-reuse safe
  option httpchk
  http-check send meth POST uri / ver HTTP/1.1 hdr host check hdr content-type application/json body '{CHECK}'
  http-check expect status 200
  default-server check inter 1s fastinter 200ms fall 2 rise 2 observe layer7 error-limit 5 on-error mark-down
{servers}",
        servers = servers.collect::<String>(),
    )
}
