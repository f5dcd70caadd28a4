//! A line for each proxy, over a logarithmic axis.

use super::colour;
use super::scale::{Scale, label};
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = HEIGHT - 66.0;
const LEFT: f64 = 70.0;
/// Right end of the axis; names follow it.
const RIGHT: f64 = WIDTH - 140.0;
/// Minimum distance between two names.
const NAME_HEIGHT: f64 = 15.0;
/// Values with a larger ratio than this are shown on a logarithmic axis.
const LINEAR_RANGE: f64 = 20.0;

/// A proxy's figures.
pub struct Line {
    /// The proxy.
    pub name: String,
    /// Position and value, both above 0, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws the plot, or returns `None` without data.
pub fn draw(title: &str, caption: &str, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let [left, right] = [f64::min, f64::max].map(|of| points().map(|(x, _)| *x).reduce(of));
    let [least, most] = [f64::min, f64::max].map(|of| points().map(|(_, y)| *y).reduce(of));
    let x = Scale::log(left?, right?, [LEFT, RIGHT]);
    let y = match most? / least? > LINEAR_RANGE {
        true => Scale::log_in_decades(least?, most?, [BOTTOM, TOP]),
        false => Scale::linear(most?, [BOTTOM, TOP]),
    };
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    svg.text(20.0, 28.0, Anchor::Start, "title", title);
    for tick in y.ticks() {
        svg.grid_line([LEFT, y.place(tick)], [RIGHT, y.place(tick)]);
        svg.text(LEFT - 8.0, y.place(tick) + 4.0, Anchor::End, "", &label(tick));
    }
    for place in places(lines) {
        svg.grid_line([x.place(place), TOP], [x.place(place), BOTTOM]);
        svg.text(x.place(place), BOTTOM + 20.0, Anchor::Middle, "", &label(place));
    }
    for line in lines {
        let points: Vec<[f64; 2]> = line.points.iter().map(|point| [x.place(point.0), y.place(point.1)]).collect();
        svg.curve(&points, colour(&line.name));
    }
    name(&mut svg, lines, &y);
    svg.text(20.0, HEIGHT - 14.0, Anchor::Start, "small", caption);
    Some(svg.finish())
}

/// Positions with a figure.
fn places(lines: &[Line]) -> Vec<f64> {
    let mut places: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    places
}

/// Draws each name at the height of its line's end, or as close as the other names allow.
fn name(svg: &mut Svg, lines: &[Line], y: &Scale) {
    let end = |line: &Line| line.points.last().map_or(BOTTOM, |(_, value)| y.place(*value));
    let mut by_height: Vec<&Line> = lines.iter().collect();
    by_height.sort_unstable_by(|a, b| end(a).total_cmp(&end(b)));
    let mut free = f64::MIN;
    for line in by_height {
        let at = end(line).max(free);
        free = at + NAME_HEIGHT;
        svg.rectangle(RIGHT + 14.0, at - 5.0, 10.0, 10.0, colour(&line.name));
        svg.text(RIGHT + 30.0, at + 4.0, Anchor::Start, "", &line.name);
    }
}
