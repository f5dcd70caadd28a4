//! nginx. It retries POST, and so JSON-RPC, only with `non_idempotent`, which includes writes.

use super::{Setting, THREADS, peers};

const CONNECTIONS: usize = 4096;

pub fn conf(setting: &Setting<'_>) -> String {
    let servers = setting.origins.iter().map(|origin| format!("    server {origin} max_fails=3 fail_timeout=2s;\n"));
    let http = format!(
        "  upstream origins {{
    # Shared, so that both workers know of a failure.
    zone origins 256k;
    least_conn;
{servers}    keepalive 64;
    keepalive_requests 1000000;
  }}
  server {{
    listen {listen};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://origins;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_connect_timeout 500ms;
      proxy_send_timeout 1s;
      proxy_read_timeout 1s;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_429 non_idempotent;
      proxy_next_upstream_tries 4;
      proxy_next_upstream_timeout 10s;
    }}
  }}
",
        servers = servers.collect::<String>(),
        listen = setting.site.listen(),
    );
    peers::nginx::conf(setting.site, THREADS, CONNECTIONS, &http)
}
