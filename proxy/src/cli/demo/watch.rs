//! The demo's display: queries the admin address, reads the log, and draws the table.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::ADMIN;
use super::table::{Policy, Row, State, Style, View, render, short};
use super::traffic::{Traffic, WINDOW};
use crate::admin::{EndpointStatus, Status, UpstreamStatus};
use crate::cli::client::AdminClient;
use crate::report::Changes;

/// The refresh period of the table on a terminal, and elsewhere.
const FRAME: Duration = Duration::from_secs(1);
const PAGE: Duration = Duration::from_secs(5);
/// The time limit for the proxy's first answer.
const START: Duration = Duration::from_secs(10);
const START_PERIOD: Duration = Duration::from_millis(20);
/// Outcomes that don't count as failures of the endpoint.
const NO_FAILURES: [&str; 2] = ["success", "canceled"];
/// A part that all log lines about reloads have in common.
const RELOAD: &str = " pointsman::reload: ";

/// The demo's display.
pub(super) struct Watch {
    style: Style,
    admin: AdminClient,
    log: LogTail,
    history: VecDeque<(Instant, Counts)>,
    /// Lines of the last frame, which the next one overwrites.
    drawn: usize,
}

/// Attempts and failures by endpoint.
type Counts = BTreeMap<String, (u64, u64)>;

impl Watch {
    pub(super) fn new(style: Style, log: PathBuf) -> Self {
        let admin = AdminClient::new(&ADMIN.to_string(), None);
        Watch { style, admin, log: LogTail { path: log, offset: 0, last: None }, history: VecDeque::new(), drawn: 0 }
    }

    /// Waits for the proxy, starts the clients, and draws frames, forever or for `duration`.
    pub(super) fn run(mut self, duration: Option<Duration>) -> anyhow::Result<()> {
        self.wait_for_the_proxy()?;
        let began = Instant::now();
        let traffic = Traffic::start().context("can't start the clients")?;
        let on_terminal = std::io::stdout().is_terminal();
        let period = if on_terminal { FRAME } else { PAGE };
        loop {
            let left = duration.map_or(period, |duration| duration.saturating_sub(began.elapsed()));
            std::thread::sleep(period.min(left));
            let view = self.view(&traffic, began)?;
            if self.draw(&view, on_terminal).is_err() || duration.is_some_and(|duration| began.elapsed() >= duration) {
                // Also when the reader has left: `| head` isn't an error.
                return Ok(());
            }
        }
    }

    fn wait_for_the_proxy(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match self.admin.status() {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_) => std::thread::sleep(START_PERIOD),
            }
        }
    }

    fn view(&mut self, traffic: &Arc<Traffic>, began: Instant) -> anyhow::Result<View> {
        let status = self.admin.status()?;
        let now = Instant::now();
        let Some(upstream) = status.upstreams.values().next() else { return Ok(View::default()) };
        let before = self.remember(now, counts(upstream));
        let running = now.duration_since(began);
        Ok(View {
            endpoints: rows(upstream, &before),
            generation: status.generation,
            running,
            policies: policies(&status, upstream),
            clients: traffic.summary(now, running),
            reload: self.log.last_reload().map(str::to_owned),
        })
    }

    /// Stores these counts, and returns those at the start of the window.
    fn remember(&mut self, now: Instant, counts: Counts) -> Counts {
        self.history.push_back((now, counts));
        while self.history.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.history.pop_front();
        }
        match self.history.front() {
            Some((_, counts)) if self.history.len() > 1 => counts.clone(),
            _ => Counts::new(),
        }
    }

    /// Draws a frame in one write, so that Ctrl-C never cuts it in two. The terminal truncates
    /// lines that are too long: wrapping is on again after each frame.
    fn draw(&mut self, view: &View, on_terminal: bool) -> std::io::Result<()> {
        let lines = render(view, &self.style);
        let mut frame = String::new();
        if on_terminal {
            if self.drawn > 0 {
                frame += &format!("\x1b[{}A", self.drawn);
            }
            frame += "\r\x1b[?7l";
            lines.iter().for_each(|line| frame += &format!("{line}\x1b[K\n"));
            frame += "\x1b[J\x1b[?7h";
            self.drawn = lines.len();
        } else {
            frame = lines.join("\n") + "\n\n";
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(frame.as_bytes())?;
        stdout.flush()
    }
}

fn counts(upstream: &UpstreamStatus) -> Counts {
    let count = |endpoint: &EndpointStatus| {
        let attempts = endpoint.attempts.values().sum();
        let good: u64 = NO_FAILURES.iter().filter_map(|outcome| endpoint.attempts.get(*outcome)).sum();
        (endpoint.name.clone(), (attempts, attempts - good))
    };
    upstream.endpoints.iter().map(count).collect()
}

fn rows(upstream: &UpstreamStatus, before: &Counts) -> Vec<Row> {
    let lately = |name: &str, (attempts, failures): (u64, u64)| {
        let (old_attempts, old_failures) = before.get(name).copied().unwrap_or_default();
        // An endpoint that was removed and added again counts from 0.
        (attempts.saturating_sub(old_attempts), failures.saturating_sub(old_failures))
    };
    let now = counts(upstream);
    let lately: Counts = now
        .into_iter()
        .map(|(name, counts)| {
            let l = lately(&name, counts);
            (name, l)
        })
        .collect();
    let total: u64 = lately.values().map(|(attempts, _)| attempts).sum();
    let row = |endpoint: &EndpointStatus| {
        let (attempts, failures) = lately.get(&endpoint.name).copied().unwrap_or_default();
        Row {
            name: endpoint.name.clone(),
            weight: endpoint.weight,
            latency_ms: endpoint.latency_p99_ms.map(|p99| (endpoint.latency_ms, p99)),
            share: share(attempts, total).unwrap_or_default(),
            failed: share(failures, attempts),
            state: match &endpoint.excluded {
                None => State::Available,
                Some(_) if endpoint.cooldown_seconds > 0.0 => State::Cooling(endpoint.cooldown_seconds),
                Some(why) => State::Excluded(why.clone()),
            },
        }
    };
    upstream.endpoints.iter().map(row).collect()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn policies(status: &Status, upstream: &UpstreamStatus) -> Vec<(String, Policy)> {
    let describe = |name: &str| match status.policies.get(name) {
        Some(policy) => Policy {
            plugin: policy.plugin.clone(),
            version: policy.version.clone(),
            sha256: policy.sha256.clone(),
            calls: policy.calls,
            faults: policy.faults.values().sum(),
        },
        None => Policy { plugin: name.to_owned(), ..Policy::default() },
    };
    vec![("scoring".into(), describe(&upstream.scoring)), ("retry".into(), describe(&upstream.retry))]
}

/// Reads new lines of the log, and keeps the latest one about a reload.
struct LogTail {
    path: PathBuf,
    offset: u64,
    last: Option<String>,
}

impl LogTail {
    fn last_reload(&mut self) -> Option<&str> {
        // Without the log the rest of the table is still useful.
        let added = self.read_added().unwrap_or_default();
        let news = added.rfind(RELOAD).map(|at| news(&added[added[..at].rfind('\n').map_or(0, |end| end + 1)..]));
        self.last = news.or(self.last.take());
        self.last.as_deref()
    }

    fn read_added(&mut self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut added = Vec::new();
        file.read_to_end(&mut added)?;
        // An incomplete line is left for the next read.
        added.truncate(added.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        self.offset += added.len() as u64;
        Ok(String::from_utf8_lossy(&added).into_owned())
    }
}

/// A log line about a reload in readable form. Unrecognized lines are shown unchanged.
fn news(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let Some((head, message)) = first.split_once(RELOAD) else { return first.to_owned() };
    let time = head.get(11..19).unwrap_or_default();
    let done = |what: &str| message.strip_prefix(what).and_then(reloaded);
    match (done("reloaded "), done("rolled back ")) {
        (Some(summary), _) => format!("{time} {summary}"),
        (_, Some(summary)) => format!("{time} rolled back: {summary}"),
        // The numbers are for machines, and the table shows the generation.
        _ => format!("{time} {}", message.split(" generation=").next().unwrap_or(message)),
    }
}

fn reloaded(fields: &str) -> Option<String> {
    let (numbers, changes) = fields.split_once(" changes=")?;
    let number = |key: &str| numbers.split(' ').find_map(|field| field.strip_prefix(key));
    let changes: Changes = serde_json::from_str(changes).ok()?;
    let ms: f64 = number("ms=")?.parse().ok()?;
    let mut text = format!("generation {} in {ms:.1} ms: {}", number("generation=")?, changes.summary());
    for change in &changes.plugins_changed {
        let module = |side: &Option<String>| side.as_deref().map_or("none".to_owned(), shorten);
        text += &format!("; {} {} -> {}", change.policy, module(&change.from), module(&change.to));
    }
    for (what, names) in
        [("+", &changes.endpoints_added), ("-", &changes.endpoints_removed), ("~", &changes.endpoints_modified)]
    {
        names.iter().for_each(|name| text += &format!("; {what}{name}"));
    }
    Some(text)
}

/// `version@sha256:digest` with a shortened digest.
fn shorten(module: &str) -> String {
    match module.split_once("@sha256:") {
        Some((version, digest)) => format!("{version}@{}", short(digest)),
        None => module.to_owned(),
    }
}

#[cfg(test)]
mod tests;
