//! What `RUST_LOG` asks for, and what is wrong with it.
//!
//! A word that is no level is, to the library that reads it, the name of a module of which everything is logged, and nothing of all
//! others: `RUST_LOG=inof` silenced the server. So a word alone must be a level or a module that there is.

use std::ffi::OsStr;
use tracing_subscriber::filter::Targets;

/// What is logged unless something else is asked for.
const USUAL: &str = "info";

/// Crates that log something: ours, and libraries'. Who asks for another one by name and level gets it, and is told that it is not
/// known here.
const KNOWN: [&str; 19] = [
    "bkes",
    "bkes_admin",
    "bkes_core",
    "bkes_embedded",
    "bkes_engine",
    "bkes_grpc",
    "bkes_kafka",
    "bkes_log",
    "bkes_server",
    "bkes_storage",
    "h2",
    "hyper",
    "hyper_util",
    "librdkafka",
    "mio",
    "redb",
    "tokio",
    "tonic",
    "tower",
];

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// For [`Targets`].
    pub directives: String,
    /// What is to be told of it.
    pub complaint: Option<String>,
}

/// Reads the content of `RUST_LOG`.
pub fn read(variable: Option<&OsStr>) -> Asked {
    let usual = |complaint: Option<String>| Asked { directives: USUAL.to_owned(), complaint };
    let Some(variable) = variable else { return usual(None) };
    let shown = variable.to_string_lossy();
    let wrong = |why: &str| usual(Some(format!("RUST_LOG={shown:?}: {why}; {USUAL:?} is logged instead")));
    let Some(text) = variable.to_str() else { return wrong("it is not UTF-8") };
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return wrong("it is empty");
    }
    let text = words.join(",");
    if let Err(error) = text.parse::<Targets>() {
        return wrong(&format!("it cannot be read ({error})"));
    }
    if let Some(word) = words.iter().find(|word| word.starts_with('=')) {
        return wrong(&format!("{word:?} names no module"));
    }
    if let Some(word) = words.iter().find(|word| !word.contains('=') && !is_level(word) && !is_known(word)) {
        return wrong(&format!(
            "{word:?} is neither a level (error, warn, info, debug, trace, off) nor a module"
        ));
    }
    let stranger = words.iter().filter_map(|word| word.split_once('=')).find(|(name, _)| !is_known(name));
    let Some((name, _)) = stranger else { return Asked { directives: text, complaint: None } };
    let has_level = words.iter().any(|word| is_level(word));
    let directives = if has_level { text } else { format!("{USUAL},{text}") };
    let rest = if has_level { String::new() } else { format!("; {USUAL:?} is logged beside it") };
    let complaint = format!("RUST_LOG={shown:?}: no module {name:?} is known here{rest}");
    Asked { directives, complaint: Some(complaint) }
}

fn is_level(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"].contains(&word.as_str())
}

fn is_known(module: &str) -> bool {
    KNOWN.contains(&module.split("::").next().unwrap_or(module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_is_right_is_taken_as_it_stands() {
        for right in [
            "info",
            "DEBUG",
            "off",
            "3",
            "bkes_engine",
            "bkes_engine=debug",
            "info,librdkafka=debug,h2=off",
            "warn,bkes_kafka::native=trace",
        ] {
            let directives = right.to_owned();
            assert_eq!(read(Some(OsStr::new(right))), Asked { directives, complaint: None }, "{right}");
        }
        assert_eq!(read(Some(OsStr::new(" warn, h2=off,"))).directives, "warn,h2=off");
        assert_eq!(read(None), Asked { directives: "info".to_owned(), complaint: None });
    }

    #[test]
    fn what_is_empty_or_mistyped_is_told_of_and_means_info() {
        for wrong in [
            "",
            "  ",
            ",",
            "inof",
            "bkes_engin",
            "infoo,bkes_engine=debug",
            "bkes_engine=debgu",
            "=",
            "info=x=y",
            "info,[span{field=1}]=debug",
        ] {
            let Asked { directives, complaint } = read(Some(OsStr::new(wrong)));
            assert_eq!(directives, "info", "{wrong}");
            let complaint = complaint.unwrap_or_else(|| panic!("{wrong:?} is told of"));
            assert!(complaint.contains(&format!("RUST_LOG={wrong:?}")), "{complaint}");
        }
        let Asked { directives, complaint } = read(Some(OsStr::from_bytes(b"info\xff")));
        assert!(directives == "info" && complaint.is_some());
    }

    #[test]
    fn every_crate_of_ours_is_known() {
        let manifest = include_str!("../Cargo.toml");
        let dependencies = manifest.split("[dev-dependencies]").next().expect("the first part");
        let ours = dependencies.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
        let ours: Vec<String> =
            ours.filter(|name| name.starts_with("bkes-")).map(|name| name.replace('-', "_")).collect();
        assert!(ours.len() >= 7, "{ours:?}");
        for name in ours {
            assert!(is_known(&name) && is_known(&format!("{name}::a::module")), "{name}");
        }
    }

    #[test]
    fn a_module_that_is_not_known_is_told_of_and_everything_else_is_logged_as_usual() {
        for (text, directives) in
            [("bekes_engine=debug", "info,bekes_engine=debug"), ("warn,rustls=debug", "warn,rustls=debug")]
        {
            let asked = read(Some(OsStr::new(text)));
            assert_eq!(asked.directives, directives);
            assert!(asked.complaint.is_some_and(|complaint| complaint.contains("no module")), "{text}");
        }
    }
}
