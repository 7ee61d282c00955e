//! Where the properties of Kafka's client come from, and which wins: a file, then the list, then a variable each, then flags.
//!
//! Nothing here repeats what it reads but names that the client knows: whoever forgets a quote cuts a password in two, and its rest
//! then stands where a name is expected. Paths and variables are named.

mod file;
mod list;

use crate::native::version;
use crate::properties::{
    Properties, canonical, known_properties, known_property, resolve, shown_value, similar_property,
};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Beginning of a variable that holds one property.
const PREFIX: &str = "KAFKA_PROPERTY_";

/// End of a variable that names a file with the value.
const OF_FILE: &str = "_FILE";

/// Most bytes of a file with properties, or with the value of one: a chain of certificates has some 10,000.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a user's properties come from: what was given, as it was given.
#[derive(Default)]
pub struct PropertySources<'s> {
    /// A file in the format of Java's properties.
    pub file: Option<&'s Path>,
    /// `KAFKA_PROPERTIES`.
    pub list: &'s str,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Each `-X`.
    pub flags: &'s [String],
}

/// One property, and where it stands.
struct Given {
    place: String,
    name: &'static str,
    value: String,
}

impl PropertySources<'_> {
    /// All of them, checked. What is wrong is told with its place.
    pub fn read(self) -> Result<Properties, String> {
        let mut given = Vec::new();
        if let Some(path) = self.file {
            given = of_file(path)?;
        }
        let is_open = self.file.is_some_and(is_open_to_all);
        let in_file = given.len();
        given.extend(of_list(self.list)?);
        given.extend(of_variables(self.variables)?);
        given.extend(of_flags(self.flags)?);
        for Given { place, name, .. } in &given[in_file..] {
            if ["bootstrap.servers", "metadata.broker.list"].contains(name) {
                return Err(format!("{place}: property {name} is refused: use KAFKA_BROKERS"));
            }
        }
        let holds_secret = given[..in_file]
            .iter()
            .any(|given| shown_value(given.name, &given.value) != given.value.as_str());
        let places: Vec<(&str, String)> =
            given.iter().map(|given| (given.name, given.place.clone())).collect();
        let resolved = resolve(given.into_iter().map(|Given { name, value, .. }| (name, value)).collect());
        let mut found = resolved.map_err(|error| {
            let place = places.iter().rfind(|(name, _)| *name == error.name);
            place.map_or_else(|| error.to_string(), |(_, place)| format!("{place}: {error}"))
        })?;
        if let Some(path) = self.file.filter(|_| is_open && holds_secret) {
            let path = path.display();
            found.remarks.push(format!("{path} holds secrets, and every user may read it: chmod o-r {path}"));
        }
        Ok(found)
    }
}

/// The name, if the client knows it; otherwise what is wrong, without it.
fn known(place: &str, name: &str) -> Result<&'static str, String> {
    if let Some(known) = known_property(name) {
        return Ok(known);
    }
    let similar = similar_property(name).map(|known| format!("; {known} is like it")).unwrap_or_default();
    let version = version();
    Err(format!(
        "{place}: its name, which is not shown, is none of librdkafka {version} or of Java's client{similar}"
    ))
}

fn of_list(text: &str) -> Result<Vec<Given>, String> {
    let entries = list::read(text).map_err(|(number, name, reason)| {
        let name = known_property(&name).map(|name| format!(" ({name})")).unwrap_or_default();
        format!("KAFKA_PROPERTIES, entry {number}{name}: {reason}")
    })?;
    let given = (1..).zip(entries).map(|(number, (name, value))| {
        let place = format!("KAFKA_PROPERTIES, entry {number}");
        let name = known(&place, &name).map_err(|error| {
            format!("{error}. A value with `;` in it stands in quotes: name=\"a;b\", or in a variable of its own ({PREFIX}...)")
        })?;
        Ok(Given { place, name, value })
    });
    given.collect()
}

fn of_flags(flags: &[String]) -> Result<Vec<Given>, String> {
    let given = (1..).zip(flags).map(|(number, flag)| {
        let place = format!("-X number {number}");
        let (name, value) = flag.split_once('=').ok_or_else(|| format!("{place} is not name=value"))?;
        let name = known(&place, name.trim())?;
        Ok(Given { place, name, value: value.to_owned() })
    });
    given.collect()
}

/// A variable for each property, or for the file that holds its value. Their order is not that of anything: by name.
fn of_variables(variables: Vec<(OsString, OsString)>) -> Result<Vec<Given>, String> {
    let mut found: Vec<Given> = Vec::new();
    let named = variables.into_iter().filter(|(_, value)| !value.is_empty());
    let named = named.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut named: Vec<_> = named.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    named.sort();
    for (variable, value) in named {
        let suffix = &variable[PREFIX.len()..];
        let (name, is_file) = match (of_variable(suffix), suffix.strip_suffix(OF_FILE).and_then(of_variable))
        {
            (Some(name), _) => (name, false),
            (None, Some(name)) => (name, true),
            (None, None) => {
                let similar = similar_property(suffix.strip_suffix(OF_FILE).unwrap_or(suffix));
                let similar = similar.map(|name| format!("; {PREFIX}{} is like it", in_variable(name)));
                return Err(format!("{variable}: no property has this name{}", similar.unwrap_or_default()));
            }
        };
        let is_same = |given: &&Given| canonical(given.name) == canonical(name);
        if let Some(other) = found.iter().find(is_same) {
            return Err(format!(
                "{} and {variable} set the same property: one of them is too many",
                other.place
            ));
        }
        let value = if is_file {
            let content = read_file(Path::new(&value)).map_err(|error| format!("{variable}: {error}"))?;
            // Editors and `echo` end the last line.
            let line = content.strip_suffix('\n').unwrap_or(&content);
            line.strip_suffix('\r').filter(|_| line.len() < content.len()).unwrap_or(line).to_owned()
        } else {
            value.into_string().map_err(|_| format!("{variable}: its value is not UTF-8"))?
        };
        found.push(Given { place: variable, name, value });
    }
    Ok(found)
}

/// A property's name as the end of a variable's: in capitals, `_` for every other sign.
fn in_variable(name: &str) -> String {
    name.chars()
        .map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' })
        .collect()
}

fn of_variable(suffix: &str) -> Option<&'static str> {
    known_properties().find(|name| in_variable(name) == suffix)
}

fn of_file(path: &Path) -> Result<Vec<Given>, String> {
    let shown = path.display();
    let content = read_file(path).map_err(|error| format!("--kafka-config: {error}"))?;
    let lines = file::read(&content).map_err(|(line, reason)| format!("{shown}, line {line}: {reason}"))?;
    let given = lines.into_iter().map(|(line, name, value)| {
        let place = format!("{shown}, line {line}");
        Ok(Given { name: known(&place, &name)?, place, value })
    });
    given.collect()
}

/// A file's text; what is wrong is told with its path.
fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |error| format!("{shown} cannot be read: {error}");
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(content).map_err(|_| format!("{shown} is not UTF-8"))
}

/// Whether every user of the machine may read a file.
#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests;
