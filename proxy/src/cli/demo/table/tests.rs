use super::*;

const PLAIN: Style = Style { coloured: false };
const COLOURED: Style = Style { coloured: true };

fn view() -> View {
    let row = |name: &str, weight, latency_ms, share, failed, state| Row {
        name: name.into(),
        weight,
        latency_ms,
        share,
        failed,
        state,
    };
    let policy = |plugin: &str, calls, faults| Policy {
        plugin: plugin.into(),
        version: "0.1.0".into(),
        sha256: "0123456789abcdef".into(),
        calls,
        faults,
    };
    View {
        endpoints: vec![
            row("flaky", 130, Some((9.84, 21.5)), 0.124, Some(0.2051), State::Cooling(1.26)),
            row("fast", 100, Some((4.0, 7.9)), 0.872, Some(0.0), State::Available),
            row("slow", 20, None, 0.004, None, State::Available),
            row("a-name-that-is-long", 0, None, 0.0, None, State::Excluded("weight 0".into())),
        ],
        generation: 2,
        running: Duration::from_millis(83_900),
        policies: vec![
            ("scoring".into(), policy("peak-ewma", 1_234_567, 0)),
            ("retry".into(), policy("json-rpc-retry", 97, 3)),
        ],
        clients: Summary {
            requests: 12_345,
            answered: 12_344,
            per_second: 131.4,
            p50: Duration::from_micros(9_400),
            p99: Duration::from_millis(41),
        },
        reload: Some(
            "11:05:17 generation 2 in 3.1 ms: 1 policy changed; routing 0.1.0 0123 -> 0.1.0 4567 and so on".into(),
        ),
    }
}

#[test]
fn the_table_is_aligned() {
    let expected = "
  endpoint   weight  latency      p99  share of traffic  failed  state
  flaky         130   9.8 ms  21.5 ms  █           12 %  20.5 %  cooling 1.3 s
  fast          100   4.0 ms   7.9 ms  █████████   87 %   0.0 %  available
  slow           20        -        -  ▏            0 %       -  available
  a-name-tha      0        -        -               0 %       -  weight 0

  generation  2, up 1m 23s
  scoring     peak-ewma 0.1.0  sha256 0123456789ab  1,234,567 calls
  retry       json-rpc-retry 0.1.0  sha256 0123456789ab  97 calls, 3 faults
  clients     131 req/s, 99.99 % of 12,345 answered, p50 9 ms, p99 41 ms
  reload      11:05:17 generation 2 in 3.1 ms: 1 policy changed; routing 0.1.0
              0123 -> 0.1.0 4567 and so on";
    assert_eq!(format!("\n{}", render(&view(), &PLAIN).join("\n")), expected);
}

#[test]
fn no_line_is_wider_than_the_narrowest_terminal() {
    let mut wide = view();
    wide.reload = Some(format!("refused: {}", "x".repeat(300)));
    wide.clients = Summary { requests: 99_999_999, answered: 99_999_999, per_second: 9_999.0, ..wide.clients };
    wide.endpoints[0].latency_ms = Some((5_000.0, 5_000.0));
    for line in render(&wide, &PLAIN) {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

#[test]
fn paint_changes_nothing_but_colours() {
    let painted = render(&view(), &COLOURED).join("\n");
    let mut plain = String::new();
    for (position, piece) in painted.split("\x1b[").enumerate() {
        plain += if position == 0 { piece } else { piece.split_once('m').unwrap().1 };
    }
    assert!(painted.contains("\x1b[33mcooling 1.3 s\x1b[0m"));
    assert_eq!(plain, render(&view(), &PLAIN).join("\n"));
}

#[test]
fn a_hundred_percent_means_all() {
    let seen = Summary { requests: 1_000_000, answered: 999_999, ..Summary::default() };
    assert!(clients(&seen).contains("99.99 %"));
    assert!(clients(&Summary { answered: 1_000_000, ..seen }).contains("100.00 % of 1,000,000"));
    assert!(clients(&Summary::default()).contains("100.00 % of 0"));
}

#[test]
fn bars_grow_with_the_share() {
    assert_eq!([0.0, 0.01, 0.05, 0.5, 1.0].map(|share| bar(share).chars().count()), [0, 1, 1, 5, 10]);
}
