//! The demo's table: from numbers to lines of text, at most [`WIDTH`] columns wide.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use super::traffic::Summary;

/// The width of the narrowest common terminal.
pub(super) const WIDTH: usize = 80;
/// Cells of the bar for an endpoint's share.
const BAR: usize = 10;
/// Columns of the labels below the endpoints.
const LABEL: usize = 12;
/// Digits of a shortened digest.
const DIGEST: usize = 12;

/// The contents of the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) endpoints: Vec<Row>,
    pub(super) generation: u64,
    pub(super) running: Duration,
    /// Each policy's use, and the policy.
    pub(super) policies: Vec<(String, Policy)>,
    pub(super) clients: Summary,
    /// The log's latest news of a reload.
    pub(super) reload: Option<String>,
}

/// An endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) weight: u16,
    /// EWMA and 99th percentile in milliseconds, once there was an answer.
    pub(super) latency_ms: Option<(f32, f32)>,
    /// Its share of recent attempts, 0 to 1.
    pub(super) share: f64,
    /// The failed share of its own recent attempts, 0 to 1; `None` without attempts.
    pub(super) failed: Option<f64>,
    pub(super) state: State,
}

/// Whether an endpoint takes requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Available,
    /// Remaining seconds of cooldown.
    Cooling(f64),
    /// The reason for another exclusion.
    Excluded(String),
}

/// A policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) plugin: String,
    pub(super) version: String,
    pub(super) sha256: String,
    pub(super) calls: u64,
    pub(super) faults: u64,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Colours for a terminal, unless `NO_COLOR` is set.
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { coloured: std::io::stdout().is_terminal() && !unwanted }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn cyan(&self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The lines of the table. Cells are padded before they are coloured, since colour codes have no
/// width.
pub(super) fn render(view: &View, style: &Style) -> Vec<String> {
    let mut lines = vec![style.bold(&format!(
        "  {:<10} {:>6} {:>8} {:>8}  {:<15} {:>7}  {}",
        "endpoint", "weight", "latency", "p99", "share of traffic", "failed", "state"
    ))];
    lines.extend(view.endpoints.iter().map(|row| endpoint(row, style)));
    lines.push(String::new());
    let generation = format!("{}, up {}", view.generation, humantime::format_duration(seconds(view.running)));
    lines.push(labelled("generation", &generation, style));
    lines.extend(view.policies.iter().map(|(kind, policy)| labelled(kind, &describe(policy), style)));
    lines.push(labelled("clients", &clients(&view.clients), style));
    let reload = view.reload.as_deref().unwrap_or("none so far");
    let mut label = "reload";
    for line in wrap(reload, WIDTH - 2 - LABEL) {
        lines.push(labelled(label, &line, style));
        label = "";
    }
    lines
}

fn endpoint(row: &Row, style: &Style) -> String {
    let ms = |ms: f32| format!("{ms:.1} ms");
    let (latency, p99) = row.latency_ms.map_or(("-".into(), "-".into()), |(mean, p99)| (ms(mean), ms(p99)));
    let failed = row.failed.map_or("-".into(), |share| format!("{:.1} %", share * 100.0));
    let bar = format!("{:<BAR$}", bar(row.share));
    let state = match &row.state {
        State::Available => style.green("available"),
        State::Cooling(seconds) => style.yellow(&format!("cooling {seconds:.1} s")),
        State::Excluded(why) => style.yellow(why),
    };
    let share = format!("{:>3.0} %", row.share * 100.0);
    format!(
        "  {:<10.10} {:>6} {latency:>8} {p99:>8}  {} {share} {failed:>7}  {state}",
        row.name,
        row.weight,
        style.cyan(&bar),
    )
}

/// One cell for each tenth that is at least half full, and at least one for any share above 0.
fn bar(share: f64) -> String {
    let full = (1..=BAR).filter(|cell| share * BAR as f64 >= *cell as f64 - 0.5).count();
    if full == 0 && share > 0.0 { "▏".into() } else { "█".repeat(full) }
}

fn labelled(label: &str, text: &str, style: &Style) -> String {
    let label = format!("{label:<LABEL$}");
    format!("  {}{text}", style.bold(&label))
}

fn describe(policy: &Policy) -> String {
    let Policy { plugin, version, sha256, calls, faults } = policy;
    let faults = if *faults > 0 { format!(", {} faults", thousands(*faults)) } else { String::new() };
    format!("{plugin} {version}  sha256 {}  {} calls{faults}", short(sha256), thousands(*calls))
}

/// A digest's first digits, which suffice to identify it.
pub(super) fn short(sha256: &str) -> &str {
    sha256.get(..DIGEST).unwrap_or(sha256)
}

fn clients(seen: &Summary) -> String {
    // Truncated, not rounded, so that 100 % means all.
    let share = (seen.answered * 10_000).checked_div(seen.requests).unwrap_or(10_000);
    let ms = |latency: Duration| format!("{:.0} ms", latency.as_secs_f64() * 1_000.0);
    format!(
        "{:.0} req/s, {}.{:02} % of {} answered, p50 {}, p99 {}",
        seen.per_second,
        share / 100,
        share % 100,
        thousands(seen.requests),
        ms(seen.p50),
        ms(seen.p99)
    )
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Wraps at spaces, and within a word that is longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in text.split_whitespace().flat_map(|word| pieces(word, width)) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&piece),
            // Writing to a string can't fail.
            Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => _ = write!(line, " {piece}"),
            _ => lines.push(piece),
        }
    }
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests;
