//! The document of the results: what lies between its markers is replaced, the prose around it is by hand.
//!
//! A part has the markers `<!-- bench NAME -->` and `<!-- end NAME -->`; `summary` has them too. A run of one part leaves the
//! results of the others as they are.

use crate::report::Section;
use crate::targets::{read_summary, summary};
use anyhow::Context;
use std::fmt::Write;
use std::path::Path;

/// The text between the markers of a name.
fn between<'a>(text: &'a str, name: &str) -> anyhow::Result<(usize, usize, &'a str)> {
    let (opening, closing) = (format!("<!-- bench {name} -->\n"), format!("<!-- end {name} -->"));
    let from = text.find(&opening).with_context(|| format!("{opening:?} is missing"))? + opening.len();
    let length = text[from..].find(&closing).with_context(|| format!("{closing:?} is missing"))?;
    Ok((from, from + length, &text[from..from + length]))
}

/// Puts `content` between the markers of a name.
fn replace(text: &mut String, name: &str, content: &str) -> anyhow::Result<()> {
    let (from, to, _) = between(text, name)?;
    text.replace_range(from..to, content);
    Ok(())
}

/// A section as text.
pub fn show(section: &Section, stamp: &str) -> String {
    let mut out = String::new();
    for table in &section.tables {
        writeln!(out, "{table}").expect("writing to a string cannot fail");
    }
    for (name, plot) in &section.plots {
        writeln!(out, "![{}](pictures/{name}.svg)\n", plot.title).expect("writing to a string cannot fail");
    }
    if !stamp.is_empty() {
        writeln!(out, "Measured by {stamp}.").expect("writing to a string cannot fail");
    }
    out
}

/// Writes a section and what it says about the targets into the document, and its pictures into `pictures` beside it.
pub fn write(path: &Path, name: &str, section: &Section, stamp: &str) -> anyhow::Result<()> {
    let rows = section.rows();
    let mut text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    replace(&mut text, name, &format!("\n{}\n", show(section, stamp)))?;
    let (_, _, before) = between(&text, "summary")?;
    let mut all = rows.to_vec();
    all.extend(read_summary(before).into_iter().filter(|old| rows.iter().all(|row| row.work != old.work)));
    replace(&mut text, "summary", &format!("\n{}\n", summary(&all)))?;
    let pictures = path.parent().context("a document lies in a folder")?.join("pictures");
    for (name, plot) in &section.plots {
        std::fs::write(pictures.join(format!("{name}.svg")), plot.svg())?;
    }
    std::fs::write(path, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Table;
    use crate::targets::Verdict;

    #[test]
    fn only_what_lies_between_the_markers_of_the_part_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("figures.md");
        let markers = |name: &str| format!("<!-- bench {name} -->\nold {name}\n<!-- end {name} -->\nprose\n");
        std::fs::write(&path, ["summary", "one", "two"].map(markers).concat()).expect("written");
        let section = |id: &'static str| Section {
            tables: vec![Table::new("T", &["a"])],
            verdicts: vec![Verdict::new(id, "", 1.0)],
            ..Section::default()
        };
        write(&path, "one", &section("resume"), "a test").expect("it has the markers");
        write(&path, "one", &section("disk"), "a test").expect("it has the markers");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(
            text.contains("old two") && !text.contains("old one") && text.contains("Measured by a test.")
        );
        assert_eq!(text.matches("prose").count(), 3, "{text}");
        assert_eq!(read_summary(&text).len(), 2, "the row of the first run stays: {text}");
        let missing = write(&path, "three", &section("disk"), "").expect_err("no markers");
        assert!(missing.to_string().contains("bench three"), "{missing}");
    }
}
