//! Plots as SVG: lines over an axis, in the colours of the other pictures. A light card lies behind, so that a plot can be
//! read on a light page and on a dark one.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 438.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 102.0;
const BOTTOM: f64 = 62.0;

const COLOURS: [&str; 6] = ["#35507c", "#b3261e", "#3f8f55", "#8a6d1a", "#7a4a8c", "#2b8a99"];

const STYLE: &str = "<style>
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 12px; fill: #1f2430; text-anchor: middle }
.title { font-size: 16px; font-weight: 600 }
.left { text-anchor: start }
.right { text-anchor: end }
.card { fill: #fcfcfd; stroke: #c6cad4 }
.grid { stroke: #dfe3ea }
.axis { stroke: #7d8595 }
.line { fill: none; stroke-width: 2 }
</style>";

/// How an axis counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// By equal steps, from zero.
    Even,
    /// By equal factors.
    Factors,
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points. Those that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
    /// Whether it is a reference, which is dashed.
    pub is_reference: bool,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What its axes are.
    pub axes: (&'static str, &'static str),
    /// How the horizontal axis counts, and the marks on it with their words; without any the points make them.
    pub across: (Scale, Vec<(f64, String)>),
    /// How the vertical axis counts.
    pub up: Scale,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// An axis: which values lie on it, and where.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let of = |value: f64| if self.scale == Scale::Factors { value.ln() } else { value };
        let width = of(self.to) - of(self.from);
        let share = if width > 0.0 { (of(value) - of(self.from)) / width } else { 0.5 };
        self.start + (self.end - self.start) * share
    }

    /// Round numbers on it.
    fn marks(&self) -> Vec<f64> {
        if self.scale == Scale::Factors {
            let decades = (self.to / self.from).log10();
            let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let first = self.from.log10().floor() as i32;
            let last = self.to.log10().ceil() as i32;
            let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            return all.filter(|mark| (self.from * 0.999..=self.to * 1.001).contains(mark)).collect();
        }
        let rough = (self.to - self.from) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=10).map(|n| self.from + step * f64::from(n)).filter(|mark| *mark <= self.to * 1.001).collect()
    }
}

impl Plot {
    /// The picture; empty but for its frame when no line has a point.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied().filter(is_drawn));
        let across = axis(self.across.0, points().map(|point| point.0), (LEFT, WIDTH - RIGHT), 1.0);
        let up = axis(self.up, points().map(|point| point.1), (HEIGHT - BOTTOM, TOP), 1.15);
        let mut svg = String::new();
        let out = &mut svg;
        put(
            out,
            &format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">"#
            ),
        );
        put(out, &format!("<title>{}</title>", escape(&self.title)));
        put(out, STYLE);
        let (width, height) = (WIDTH - 2.0, HEIGHT - 2.0);
        put(out, &format!(r#"<rect class="card" x="1" y="1" width="{width}" height="{height}" rx="12"/>"#));
        put(
            out,
            &format!(r#"<text class="title" x="{}" y="30">{}</text>"#, WIDTH / 2.0, escape(&self.title)),
        );
        self.grid(out, &across, &up);
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            draw(out, line, colour, |point| (across.place(point.0), up.place(point.1)));
        }
        self.legend(out);
        put(out, "</svg>");
        svg
    }

    fn grid(&self, out: &mut String, across: &Axis, up: &Axis) {
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for mark in up.marks() {
            let y = up.place(mark);
            put(out, &format!(r#"<line class="grid" x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#));
            let (x, y) = (left - 8.0, y + 4.0);
            put(out, &format!(r#"<text class="right" x="{x}" y="{y:.1}">{}</text>"#, number(mark)));
        }
        let named = |mark: &f64| (*mark, number(*mark));
        let marks = if self.across.1.is_empty() {
            across.marks().iter().map(named).collect()
        } else {
            self.across.1.clone()
        };
        for (mark, words) in marks {
            let x = across.place(mark);
            put(out, &format!(r#"<line class="grid" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"/>"#));
            let y = bottom + 18.0;
            put(out, &format!(r#"<text x="{x:.1}" y="{y}">{}</text>"#, escape(&words)));
        }
        put(out, &format!(r#"<path class="axis" fill="none" d="M{left} {top} V{bottom} H{right}"/>"#));
        let (middle, low) = ((left + right) / 2.0, HEIGHT - 18.0);
        put(out, &format!(r#"<text x="{middle}" y="{low}">{}</text>"#, escape(self.axes.0)));
        let (x, y) = (left - 8.0, top - 10.0);
        put(out, &format!(r#"<text class="left" x="{}" y="{y}">{}</text>"#, x - 50.0, escape(self.axes.1)));
    }

    /// The names of the lines, in as many rows under the title as they need: two have room.
    fn legend(&self, out: &mut String) {
        let mut rows: Vec<(f64, Vec<(&Line, &str)>)> = vec![(0.0, Vec::new())];
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let width = entry_width(line);
            match rows.last_mut() {
                Some((taken, entries)) if *taken + width <= WIDTH - 20.0 => {
                    *taken += width;
                    entries.push((line, colour));
                }
                _ => rows.push((width, vec![(line, colour)])),
            }
        }
        let mut y = 50.0;
        for (taken, entries) in rows {
            let mut x = (WIDTH - taken).max(0.0) / 2.0;
            for (line, colour) in entries {
                let (dash, end) = (dash(line), x + 24.0);
                put(
                    out,
                    &format!(r#"<path class="line" stroke="{colour}"{dash} d="M{x:.1} {y} H{end:.1}"/>"#),
                );
                let (words, left, low) = (escape(&line.name), end + 6.0, y + 4.0);
                put(out, &format!(r#"<text class="left" x="{left:.1}" y="{low}">{words}</text>"#));
                x += entry_width(line);
            }
            y += 18.0;
        }
    }
}

/// A sample of the line, its name at about seven pixels a character, and room.
fn entry_width(line: &Line) -> f64 {
    44.0 + 7.0 * line.name.chars().count() as f64
}

fn is_drawn(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite() && point.0 > 0.0 && point.1 > 0.0
}

fn axis(scale: Scale, values: impl Iterator<Item = f64>, (start, end): (f64, f64), room: f64) -> Axis {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
    match scale {
        Scale::Even => Axis { scale, from: 0.0, to: high * room, start, end },
        Scale::Factors => Axis { scale, from: low / room, to: high * room, start, end },
    }
}

fn draw(out: &mut String, line: &Line, colour: &str, place: impl Fn(&(f64, f64)) -> (f64, f64)) {
    let mut path = String::new();
    let mut dots = String::new();
    for point in line.points.iter().filter(|point| is_drawn(point)) {
        let (x, y) = place(point);
        write!(path, "{}{x:.1} {y:.1} ", if path.is_empty() { "M" } else { "L" })
            .expect("a string takes all");
        put(&mut dots, &format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#));
    }
    let dash = dash(line);
    put(out, &format!(r#"<path class="line" stroke="{colour}"{dash} d="{}"/>"#, path.trim_end()));
    out.push_str(&dots);
}

fn dash(line: &Line) -> &'static str {
    if line.is_reference { r#" stroke-dasharray="6 4""# } else { "" }
}

/// A number as people write it on an axis.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", round(value / 1e6)),
        value if value >= 1e4 => format!("{} k", round(value / 1e3)),
        value => round(value),
    }
}

fn round(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn put(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        let line = Line { name: "a < b".into(), points, is_reference: false };
        let across = (Scale::Factors, vec![(1.0, "one".into()), (64.0, "64".into())]);
        Plot { title: "T".into(), axes: ("callers", "a second"), across, up: Scale::Even, lines: vec![line] }
    }

    #[test]
    fn points_lie_where_their_values_are() {
        let svg = plot(vec![(1.0, 100.0), (8.0, 50.0), (64.0, f64::NAN)]).svg();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        // Eight is half of the way from one to itself squared: the last point is no number, so eight is the end.
        let bottom = HEIGHT - BOTTOM;
        let half = bottom - (bottom - TOP) * 50.0 / 115.0;
        assert!(svg.contains(&format!(r#"cx="{:.1}" cy="{half:.1}""#, WIDTH - RIGHT)), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains(">one</text>"), "{svg}");
    }

    #[test]
    fn names_that_do_not_fit_go_into_a_second_row() {
        let mut plot = plot(vec![(1.0, 1.0)]);
        plot.lines[0].name = "x".repeat(40);
        plot.lines = vec![plot.lines[0].clone(); 3];
        let svg = plot.svg();
        let in_row = |y: u32| svg.matches(&format!(r#"y="{y}">xxx"#)).count();
        assert_eq!((in_row(54), in_row(72), in_row(90)), (2, 1, 0), "{svg}");
    }

    #[test]
    fn an_empty_plot_is_a_frame() {
        assert!(plot(Vec::new()).svg().ends_with("</svg>\n"));
    }

    #[test]
    fn marks_are_round_numbers_within_the_axis() {
        let even = Axis { scale: Scale::Even, from: 0.0, to: 115.0, start: 0.0, end: 1.0 };
        assert_eq!(even.marks(), [0.0, 50.0, 100.0]);
        let factors = Axis { scale: Scale::Factors, from: 3.0, to: 60.0, start: 0.0, end: 1.0 };
        assert_eq!(
            factors.marks().iter().map(|mark| number(*mark)).collect::<Vec<_>>(),
            ["5", "10", "20", "50"]
        );
        assert_eq!((number(25_000.0), number(1_500_000.0)), ("25 k".into(), "1.5 M".into()));
    }
}
