//! The log's last step: makes every event fit to print, whatever its message and fields contain.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::text;

/// Wraps the writers that `M` makes, so that only printable text reaches them.
pub(super) struct Printable<M>(pub(super) M);

/// Expects one complete event per write, as `tracing_subscriber` makes them.
pub(super) struct PrintableWriter<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Printable<M> {
    type Writer = PrintableWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PrintableWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for PrintableWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let whole = String::from_utf8_lossy(event);
        let (entry, end) = whole.strip_suffix('\n').map_or((&*whole, ""), |entry| (entry, "\n"));
        self.0.write_all(format!("{}{end}", text::entry(entry)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_and_fields_of_every_kind_are_made_fit() {
        let kept = Captured::default();
        let into = kept.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(Printable(move || into.clone())).with_ansi(false).finish();
        let bad = "a\u{202e}b\u{1b}[2Jc\n2026-11-24T00:00:00Z  INFO pointsman: forged\u{200b}";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(file = bad, debug = ?bad, display = %bad, "first {bad}");
            tracing::warn!("second");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains(|c| c != '\n' && text::is_unfit(c)), "{text:?}");
        assert!(text.contains("a\\u{202e}b"), "{text}");
        let forged = |line: &&str| line.starts_with("2026-11-24T00:00:00Z");
        assert_eq!((text.lines().filter(forged).count(), text.ends_with("second\n")), (0, true), "{text}");
    }
}
