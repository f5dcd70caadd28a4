//! nginx. JSON-RPC is all POST, which it repeats only with `non_idempotent`, and then writes too.

use super::Setting;

pub const ARGUMENTS: &[&str] = &["-p", ".", "-e", "error.log", "-c"];

pub fn conf(setting: &Setting) -> String {
    let Setting { listen, .. } = setting;
    let servers = setting.origins.iter().map(|origin| format!("server {origin} max_fails=3 fail_timeout=2s;\n"));
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders = folders.map(|name| format!("{name}_temp_path {};\n", setting.path(name).display()));
    format!(
        "daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {folders}
  upstream origins {{
    # Shared, so that both workers know of a failure.
    zone origins 256k;
    least_conn;
    {servers}
    keepalive 64;
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
}}
",
        folders = folders.concat(),
        servers = servers.collect::<String>(),
    )
}
