//! Draws the sequence pictures of the documents: `docs/pictures/*.txt` become SVG files of the same name.
//!
//! The language has one line for each thing, from top to bottom:
//!
//! ```text
//! title A title
//! actor a "Handler A"       a column, from left to right
//! a -> b: text              an arrow with a label
//! a -x b: text              an arrow that says no
//! at a: text                a note on a column; `good a:` and `bad a:` are coloured
//! ```
//!
//! A picture has its own light card as background, so that it can be read on a light page and on a dark one. Widths of text
//! are estimated: there is no font here.

use anyhow::{Context, bail};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const COLUMN_WIDTH: u32 = 250;
const MARGIN: u32 = 28;
const TITLE_HEIGHT: u32 = 52;
const ACTOR_HEIGHT: u32 = 34;
const ACTOR_WIDTH: u32 = 130;
const LINE_HEIGHT: u32 = 17;
const GAP: u32 = 16;
const NOTE_WIDTH: u32 = 218;
/// The mean width of a character at the size of labels and notes, in tenths of a pixel.
const CHARACTER_TENTHS: usize = 71;

/// Draws every picture and writes it beside its source.
pub fn run() -> anyhow::Result<()> {
    for (source, picture) in pictures()? {
        std::fs::write(&picture, draw(&std::fs::read_to_string(&source)?)?)?;
        println!("{}", picture.display());
    }
    Ok(())
}

/// Each source with the file it is drawn into.
fn pictures() -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            pictures.push((path.clone(), path.with_extension("svg")));
        }
    }
    pictures.sort();
    Ok(pictures)
}

#[derive(Debug, PartialEq)]
struct Actor {
    name: String,
    label: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tone {
    Plain,
    Good,
    Bad,
}

#[derive(Debug, PartialEq)]
enum Row {
    Arrow { from: usize, to: usize, refused: bool, text: String },
    Note { at: usize, tone: Tone, text: String },
}

#[derive(Debug, Default)]
struct Picture {
    title: String,
    actors: Vec<Actor>,
    rows: Vec<Row>,
}

fn draw(source: &str) -> anyhow::Result<String> {
    let mut picture = Picture::default();
    for (number, line) in source.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        picture.read(line).with_context(|| format!("line {}: {line}", number + 1))?;
    }
    if picture.actors.is_empty() {
        bail!("a picture needs an actor");
    }
    Ok(picture.svg())
}

impl Picture {
    fn read(&mut self, line: &str) -> anyhow::Result<()> {
        if let Some(title) = line.strip_prefix("title ") {
            self.title = title.trim().into();
            return Ok(());
        }
        if let Some(actor) = line.strip_prefix("actor ") {
            let (name, label) = actor.split_once(' ').context("an actor has a name and a label")?;
            let label = label.trim().trim_matches('"').into();
            self.actors.push(Actor { name: name.into(), label });
            return Ok(());
        }
        let (head, text) = line.split_once(':').context("a colon stands before the text")?;
        let text = text.trim().to_owned();
        let row = match head.split_whitespace().collect::<Vec<_>>()[..] {
            ["at", actor] => Row::Note { at: self.actor(actor)?, tone: Tone::Plain, text },
            ["good", actor] => Row::Note { at: self.actor(actor)?, tone: Tone::Good, text },
            ["bad", actor] => Row::Note { at: self.actor(actor)?, tone: Tone::Bad, text },
            [from, arrow @ ("->" | "-x"), to] if from != to => {
                Row::Arrow { from: self.actor(from)?, to: self.actor(to)?, refused: arrow == "-x", text }
            }
            _ => bail!("not a line of a picture"),
        };
        self.rows.push(row);
        Ok(())
    }

    fn actor(&self, name: &str) -> anyhow::Result<usize> {
        self.actors.iter().position(|actor| actor.name == name).with_context(|| format!("no actor {name}"))
    }

    fn svg(&self) -> String {
        let width = MARGIN * 2 + COLUMN_WIDTH * self.actors.len() as u32;
        let top = TITLE_HEIGHT + ACTOR_HEIGHT;
        let mut rows = Rows { svg: String::new(), y: top + GAP + 4 };
        for row in &self.rows {
            match row {
                Row::Arrow { from, to, refused, text } => rows.arrow(*from, *to, *refused, text),
                Row::Note { at, tone, text } => rows.note(*at, *tone, text),
            }
        }
        let Rows { svg: rows, y: bottom } = rows;
        let height = bottom + MARGIN - GAP / 2;

        let mut svg = String::new();
        let out = &mut svg;
        line(
            out,
            &format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#
            ),
        );
        line(out, &format!("<title>{}</title>", escape(&self.title)));
        line(out, STYLE);
        line(
            out,
            &format!(
                r#"<rect class="card" x="1" y="1" width="{}" height="{}" rx="12"/>"#,
                width - 2,
                height - 2
            ),
        );
        line(out, &format!(r#"<text class="title" x="{}" y="33">{}</text>"#, width / 2, escape(&self.title)));
        for (index, actor) in self.actors.iter().enumerate() {
            let x = center(index);
            line(out, &format!(r#"<line class="life" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>"#));
            line(
                out,
                &format!(
                    r#"<rect class="actor" x="{}" y="{TITLE_HEIGHT}" width="{ACTOR_WIDTH}" height="{ACTOR_HEIGHT}" rx="7"/>"#,
                    x - ACTOR_WIDTH / 2
                ),
            );
            let baseline = TITLE_HEIGHT + 22;
            line(
                out,
                &format!(r#"<text class="name" x="{x}" y="{baseline}">{}</text>"#, escape(&actor.label)),
            );
        }
        out.push_str(&rows);
        line(out, "</svg>");
        svg
    }
}

const STYLE: &str = "<style>
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 13px; fill: #1f2430; text-anchor: middle }
.label { paint-order: stroke; stroke: #fcfcfd; stroke-width: 5px }
.title { font-size: 17px; font-weight: 600 }
.name { font-weight: 600; fill: #ffffff }
.card { fill: #fcfcfd; stroke: #c6cad4 }
.actor { fill: #35507c }
.life { stroke: #aeb5c2; stroke-dasharray: 3 4 }
.arrow { stroke: #35507c; stroke-width: 1.6; fill: none }
.head { fill: #35507c }
.refused { stroke: #b3261e; stroke-width: 1.6; stroke-dasharray: 6 4; fill: none }
.refusedhead { fill: #b3261e }
.plain { fill: #f1ecd9; stroke: #cdbf8c }
.good { fill: #dcf1e0; stroke: #6fae7c }
.bad { fill: #fbe0de; stroke: #d98880 }
</style>";

/// The middle of a column.
fn center(index: usize) -> u32 {
    MARGIN + COLUMN_WIDTH / 2 + COLUMN_WIDTH * index as u32
}

/// The rows drawn so far, and where the next one begins.
struct Rows {
    svg: String,
    y: u32,
}

impl Rows {
    /// Draws an arrow with its label above.
    fn arrow(&mut self, from: usize, to: usize, refused: bool, text: &str) {
        let Rows { svg: out, y } = self;
        let (from, to) = (center(from), center(to));
        let label = wrap(text, from.abs_diff(to) - 24);
        let middle = (from + to) / 2;
        let mut at = *y;
        for part in &label {
            at += LINE_HEIGHT;
            let text = escape(part);
            line(out, &format!(r#"<text class="label" x="{middle}" y="{}">{text}</text>"#, at - 6));
        }
        let shaft_y = at + 2;
        let (shaft, head) = if refused { ("refused", "refusedhead") } else { ("arrow", "head") };
        // The tip stands two pixels before the line of its actor.
        let (tip, back) = if from < to { (to - 2, to - 12) } else { (to + 2, to + 12) };
        line(
            out,
            &format!(r#"<line class="{shaft}" x1="{from}" y1="{shaft_y}" x2="{back}" y2="{shaft_y}"/>"#),
        );
        line(
            out,
            &format!(
                r#"<path class="{head}" d="M{tip} {shaft_y} L{back} {} L{back} {} Z"/>"#,
                shaft_y - 5,
                shaft_y + 5
            ),
        );
        *y = shaft_y + GAP;
    }

    /// Draws a note.
    fn note(&mut self, at: usize, tone: Tone, text: &str) {
        let Rows { svg: out, y } = self;
        let parts = wrap(text, NOTE_WIDTH - 20);
        let height = LINE_HEIGHT * parts.len() as u32 + 12;
        let x = center(at);
        let class = match tone {
            Tone::Plain => "plain",
            Tone::Good => "good",
            Tone::Bad => "bad",
        };
        let left = x - NOTE_WIDTH / 2;
        line(
            out,
            &format!(
                r#"<rect class="{class}" x="{left}" y="{y}" width="{NOTE_WIDTH}" height="{height}" rx="6"/>"#
            ),
        );
        for (index, part) in parts.iter().enumerate() {
            let baseline = *y + 19 + LINE_HEIGHT * index as u32;
            line(out, &format!(r#"<text x="{x}" y="{baseline}">{}</text>"#, escape(part)));
        }
        *y += height + GAP - 4;
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// Breaks a text into lines that fit into so many pixels.
fn wrap(text: &str, width: u32) -> Vec<String> {
    let most = width as usize * 10 / CHARACTER_TENTHS;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= most => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_drawn_from_its_source() {
        let pictures = pictures().expect("docs/pictures is there");
        assert!(pictures.len() >= 4);
        for (source, picture) in pictures {
            let drawn =
                draw(&std::fs::read_to_string(&source).expect("it was listed")).expect("it is a picture");
            let committed = std::fs::read_to_string(&picture).unwrap_or_default();
            assert!(drawn == committed, "{} is stale: run `cargo xtask pictures`", picture.display());
        }
    }

    #[test]
    fn a_line_that_says_nothing_is_refused() {
        let head = "title T\nactor a \"A\"\nactor b \"B\"\n";
        for good in ["a -> b: x", "b -x a: x", "at a: x", "good b: x", "bad a: x"] {
            draw(&format!("{head}{good}\n")).expect(good);
        }
        for bad in ["a -> c: x", "a => b: x", "a -> b", "a -> a: x", "worse a: x"] {
            let error = draw(&format!("{head}{bad}\n")).expect_err(bad);
            assert!(format!("{error:#}").starts_with("line 4: "), "{error:#}");
        }
        draw("title T\n").expect_err("no actor");
    }

    #[test]
    fn text_is_wrapped_and_escaped() {
        assert_eq!(wrap("one two three", 60), ["one two", "three"]);
        let svg = draw("actor a \"<A>\"\nat a: x & y\n").expect("a picture");
        assert!(svg.contains(">&lt;A&gt;</text>") && svg.contains(">x &amp; y</text>"), "{svg}");
    }
}
