//! The log filter: `RUST_LOG`, within the levels that are allowed.
//!
//! Invariant: no library logs below level info. At debug and trace, Pingora, Rustls and HTTP
//! clients log heads with their tokens, keys and URLs. Wasmtime and its compiler handle modules and
//! no requests, so debug is allowed for them.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The prefix of our own targets.
const OWN: &str = "pointsman";
/// Libraries that never handle a secret.
const HARMLESS: [&str; 3] = ["wasmtime", "cranelift", "regalloc2"];

/// A filter, and a warning about it.
pub(super) struct Choice {
    pub(super) filter: EnvFilter,
    pub(super) warning: Option<String>,
}

/// The filter of `text`, the value of `RUST_LOG`; `default` where it sets nothing.
pub(super) fn choose(text: Option<&str>, default: &str) -> Choice {
    let text = text.unwrap_or_default();
    if text.trim().is_empty() {
        return Choice { filter: EnvFilter::new(default), warning: None };
    }
    let filter = match EnvFilter::builder().parse(text) {
        Ok(filter) => filter,
        Err(error) => {
            let warning = format!("RUST_LOG={text:?} can't be read, so it is taken for {default:?}: {error}");
            return Choice { filter: EnvFilter::new(default), warning: Some(warning) };
        }
    };
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if !directives.iter().any(|directive| speaks_of_us(directive)) {
        let warning = format!(
            "RUST_LOG={text:?} has neither a level nor a target that begins with {OWN:?}; for all else it is taken for {default:?}"
        );
        return Choice { filter: EnvFilter::new(format!("{default},{text}")), warning: Some(warning) };
    }
    let warning = directives.iter().any(|directive| is_capped(directive)).then(|| {
        format!(
            "RUST_LOG={text:?}: libraries log nothing below level info, since that would show secrets; only {OWN} does, and \
             wasmtime and cranelift down to debug"
        )
    });
    Choice { filter, warning }
}

/// Whether an event of this target and level may be logged.
pub(super) fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= lowest(metadata.target())
}

fn lowest(target: &str) -> Level {
    let is =
        |name: &str| target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_', '-']));
    if is(OWN) {
        Level::TRACE
    } else if HARMLESS.iter().any(|name| is(name)) {
        Level::DEBUG
    } else {
        Level::INFO
    }
}

/// Whether the directive sets a level for everything, for our own targets, or for spans.
fn speaks_of_us(directive: &str) -> bool {
    directive.parse::<LevelFilter>().is_ok() || directive.starts_with(OWN) || directive.starts_with('[')
}

/// Whether the directive asks for more than is allowed.
fn is_capped(directive: &str) -> bool {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (target, level.parse::<LevelFilter>()),
        None => match directive.parse::<LevelFilter>() {
            Ok(level) => ("everything", Ok(level)),
            Err(_) => (directive, Ok(LevelFilter::TRACE)),
        },
    };
    level.is_ok_and(|level| level > LevelFilter::from_level(lowest(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> String {
        choose(Some(text), "info").warning.unwrap_or_default()
    }

    #[test]
    fn what_names_nothing_of_ours_is_told_and_leaves_the_default() {
        assert!(choose(None, "info").warning.is_none() && choose(Some(" "), "info").warning.is_none());
        for good in ["info", "WARN", "off", "pointsman=debug", "pointsman::access=off", "error,wasmtime=debug"] {
            assert_eq!(warned(good), "", "{good}");
        }
        for odd in ["nonsense", "nonsense=debug", "wasmtime=info", "point=debug"] {
            let choice = choose(Some(odd), "info");
            assert!(choice.warning.is_some_and(|w| w.contains("has neither a level nor")), "{odd}");
            assert!(choice.filter.to_string().contains("info"), "{odd}: {}", choice.filter);
        }
        assert!(warned("pointsman=loud").contains("can't be read"));
    }

    #[test]
    fn libraries_stay_above_debug() {
        for (target, level) in [
            ("pointsman", Level::TRACE),
            ("pointsman::guest", Level::TRACE),
            ("wasmtime_environ::x", Level::DEBUG),
            ("cranelift_codegen", Level::DEBUG),
            ("pingora_core::apps", Level::INFO),
            ("rustls", Level::INFO),
            ("log", Level::INFO),
            ("pointsmanlike", Level::INFO),
        ] {
            assert_eq!(lowest(target), level, "{target}");
        }
        for capped in ["trace", "debug", "info,pingora=debug", "pointsman=info,h2=trace", "wasmtime=trace,info"] {
            assert!(warned(capped).contains("libraries log nothing below"), "{capped}");
        }
    }
}
