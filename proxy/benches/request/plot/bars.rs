//! A bar for each proxy.

use super::colour;
use super::scale::{Scale, label};
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 720.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Space above the first bar, for the title.
const TOP: f64 = 48.0;
/// Space below the last bar, for the caption.
const BOTTOM: f64 = 36.0;
/// Width of the names, and of the figures at the other end.
const LEFT: f64 = 140.0;
const RIGHT: f64 = 90.0;

/// A proxy's figure.
pub struct Bar {
    /// The proxy.
    pub name: String,
    /// The figure, not below 0.
    pub value: f64,
}

/// Draws the plot, or returns `None` without data.
pub fn draw(title: &str, caption: &str, bars: &[Bar]) -> Option<String> {
    let most = bars.iter().map(|bar| bar.value).reduce(f64::max).filter(|most| *most > 0.0)?;
    let height = TOP + ROW * bars.len() as f64 + BOTTOM;
    let scale = Scale::linear(most, [LEFT, WIDTH - RIGHT]);
    let mut svg = Svg::new(WIDTH, height, title);
    svg.text(20.0, 28.0, Anchor::Start, "title", title);
    for (bar, row) in bars.iter().zip(0u32..) {
        let y = TOP + ROW * f64::from(row);
        let end = scale.place(bar.value);
        svg.text(LEFT - 10.0, y + 14.0, Anchor::End, "", &bar.name);
        svg.rectangle(LEFT, y, end - LEFT, BAR, colour(&bar.name));
        svg.text(end + 8.0, y + 14.0, Anchor::Start, "", &label(bar.value));
    }
    svg.text(20.0, height - 14.0, Anchor::Start, "small", caption);
    Some(svg.finish())
}
