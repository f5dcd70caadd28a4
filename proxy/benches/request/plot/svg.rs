//! The subset of SVG for the plots.

use std::fmt::Write as _;

/// Follows the reader's colour scheme, including the background, because the page's own may be
/// light or dark.
const STYLE: &str = "text{font:13px ui-sans-serif,system-ui,'Segoe UI','Liberation Sans',sans-serif;fill:#1b2430}\
.title{font-weight:600;font-size:15px}.small{font-size:11px;fill:#5b6675}.back{fill:#fff}.grid{stroke:#dde2e8}\
@media(prefers-color-scheme:dark){text{fill:#d6deeb}.small{fill:#94a1b3}.back{fill:#11161f}.grid{stroke:#2b3442}}";

/// Alignment of a text.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// The position is the text's start.
    Start,
    /// The position is the text's middle.
    Middle,
    /// The position is the text's end.
    End,
}

/// A picture. The origin is at the top left.
pub struct Svg {
    text: String,
}

impl Svg {
    /// Creates an empty picture of this size with a label for screen readers.
    pub fn new(width: f64, height: f64, label: &str) -> Svg {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n",
            escaped(label)
        );
        text.push_str("<rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"9\"/>\n");
        Svg { text }
    }

    /// A text of one of the style's classes, or of none.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        );
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{colour}\"/>"
        );
    }

    /// A line of the grid.
    pub fn grid_line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ =
            writeln!(self.text, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
    }

    /// A line through these points, with a dot at each.
    pub fn curve(&mut self, points: &[[f64; 2]], colour: &str) {
        let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ =
            writeln!(self.text, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        for [x, y] in points {
            let _ = writeln!(self.text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
    }

    /// The whole picture.
    pub fn finish(self) -> String {
        self.text + "</svg>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
