//! Facts and complaints on the output.

use super::Findings;
use super::complaint::Severity;
use crate::console::Console;
use crate::escape;
use crate::exit::Ended;
use crate::json_writer::Object;
use crate::show::Shape;

/// Shows them.
pub(super) fn show(findings: &Findings, shape: Shape, console: &mut Console<'_>) -> Result<(), Ended> {
    match shape {
        Shape::Table => table(findings, console),
        Shape::Json => {
            let mut line = json(findings);
            line.push(b'\n');
            console.write(&line)
        }
    }
}

fn table(findings: &Findings, console: &mut Console<'_>) -> Result<(), Ended> {
    let width = findings.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    for fact in &findings.facts {
        console.line(format_args!("{:<width$}  {}", fact.name, escape::text(&fact.value)))?;
    }
    console.line("")?;
    if findings.complaints.is_empty() {
        return console.line("nothing found");
    }
    for complaint in &findings.complaints {
        let severity = complaint.severity();
        let (color, plain) = match (console.looks.has_colors, severity) {
            (false, _) | (_, Severity::Note) => ("", ""),
            (true, Severity::Warning) => ("\x1b[1;33m", "\x1b[0m"),
            (true, Severity::Problem) => ("\x1b[1;31m", "\x1b[0m"),
        };
        console.line(format_args!(
            "{color}{}{plain}: {}",
            severity.name(),
            escape::text(complaint.what())
        ))?;
        if let Some(cure) = complaint.cure() {
            console.line(format_args!("  cure: {}", escape::text(cure)))?;
        }
    }
    Ok(())
}

fn json(findings: &Findings) -> Vec<u8> {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.list_of("facts", &findings.facts, |object, fact| {
        object.text("name", fact.name);
        object.text("value", &fact.value);
    });
    object.list_of("findings", &findings.complaints, |object, complaint| {
        object.text("severity", complaint.severity().name());
        object.text("kind", complaint.kind());
        object.text("what", complaint.what());
        if let Some(cure) = complaint.cure() {
            object.text("cure", cure);
        }
    });
    object.end();
    line
}
