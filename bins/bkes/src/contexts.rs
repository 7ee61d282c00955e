//! The file of contexts: names for servers, one of them in use.
//!
//! ```json
//! {"current": "test", "contexts": {"test": {"server": "bkes.test:50030"}}}
//! ```
//!
//! Fields that this version does not know stay as they are when the file is written.

use crate::exit::{Code, Ended};
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The contexts of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contexts {
    path: PathBuf,
    root: Map<String, Value>,
}

impl Contexts {
    /// Those of the file at `path`; none if there is no file.
    pub fn load(path: &Path) -> Result<Contexts, Ended> {
        let root = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(Ended::file(path, error)),
            Ok(content) => {
                let root = serde_json::from_slice(&content);
                root.map_err(|error| wrong(path, format_args!("not an object in JSON: {error}")))?
            }
        };
        let contexts = Contexts { path: path.to_owned(), root };
        contexts.check()?;
        Ok(contexts)
    }

    fn check(&self) -> Result<(), Ended> {
        let is_text = |value: Option<&Value>| value.is_none_or(|value| value.is_string() || value.is_null());
        if !is_text(self.root.get("current")) {
            return Err(wrong(&self.path, "\"current\" is not a name"));
        }
        match self.root.get("contexts") {
            None => Ok(()),
            Some(Value::Object(all)) => {
                match all.iter().find(|(_, one)| !one.get("server").is_some_and(Value::is_string)) {
                    Some((name, _)) => {
                        Err(wrong(&self.path, format_args!("context {name:?} has no \"server\"")))
                    }
                    None => Ok(()),
                }
            }
            Some(_) => Err(wrong(&self.path, "\"contexts\" is not an object")),
        }
    }

    /// The name of the one in use.
    pub fn current(&self) -> Option<&str> {
        self.root.get("current").and_then(Value::as_str)
    }

    /// Names and servers.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.root.get("contexts").and_then(Value::as_object).into_iter().flatten();
        all.filter_map(|(name, one)| Some((name.as_str(), one.get("server")?.as_str()?)))
    }

    /// The server of a context.
    pub fn server(&self, name: &str) -> Result<&str, Ended> {
        let found = self.list().find(|(known, _)| *known == name).map(|(_, server)| server);
        found.ok_or_else(|| {
            let names: Vec<_> = self.list().map(|(name, _)| name).collect();
            let there_are = if names.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            Ended::usage(format_args!(
                "no context is called {name:?} in {}: {there_are}",
                self.path.display()
            ))
        })
    }

    /// Gives a server a name. The first one is in use at once.
    pub fn set(&mut self, name: &str, server: &str) {
        if self.list().next().is_none() {
            self.root.insert("current".to_owned(), name.into());
        }
        let all = self.root.entry("contexts").or_insert_with(|| json!({}));
        if !all[name].is_object() {
            all[name] = json!({});
        }
        all[name]["server"] = server.into();
    }

    /// Has a context in use from now on.
    pub fn switch_to(&mut self, name: &str) -> Result<(), Ended> {
        self.server(name)?;
        self.root.insert("current".to_owned(), name.into());
        Ok(())
    }

    /// Forgets a context. If it was in use, none is.
    pub fn remove(&mut self, name: &str) -> Result<(), Ended> {
        self.server(name)?;
        if let Some(all) = self.root.get_mut("contexts").and_then(Value::as_object_mut) {
            all.remove(name);
        }
        if self.current() == Some(name) {
            self.root.remove("current");
        }
        Ok(())
    }

    /// Writes the file, as a whole or not at all.
    pub fn save(&self) -> Result<(), Ended> {
        let failed = |error| Ended::file(&self.path, error);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut written = self.path.clone().into_os_string();
        written.push(format!(".{}", std::process::id()));
        let content = format!("{:#}\n", Value::Object(self.root.clone()));
        fs::write(&written, content).map_err(failed)?;
        fs::rename(&written, &self.path).map_err(|error| {
            // What is left beside the file does no harm.
            drop(fs::remove_file(&written));
            failed(error)
        })
    }
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> Ended {
    Ended::new(Code::InputOutput, format_args!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_in_their_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deeper/contexts.json");
        let mut contexts = Contexts::load(&path).expect("no file is no error");
        assert_eq!((contexts.current(), contexts.list().count()), (None, 0));
        assert!(contexts.server("test").is_err() && contexts.switch_to("test").is_err());
        contexts.set("test", "one:1");
        contexts.set("live", "two:2");
        contexts.set("test", "one:3");
        assert_eq!(contexts.current(), Some("test"), "the first is in use");
        contexts.switch_to("live").expect("it is there");
        contexts.save().expect("the folder is made");

        let mut contexts = Contexts::load(&path).expect("it was written");
        assert_eq!(contexts.current(), Some("live"));
        assert_eq!(contexts.list().collect::<Vec<_>>(), [("live", "two:2"), ("test", "one:3")]);
        contexts.remove("live").expect("it is there");
        assert_eq!((contexts.current(), contexts.server("test")), (None, Ok("one:3")));
        assert!(contexts.remove("live").is_err());
        let files = fs::read_dir(path.parent().expect("it has one")).expect("it is there").count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_not_known_is_kept_and_what_is_wrong_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.json");
        let load = |content: &str| {
            fs::write(&path, content).expect("it is ours");
            Contexts::load(&path)
        };
        let mut contexts =
            load(r#"{"new":1,"contexts":{"a":{"server":"x","tls":true}}}"#).expect("it is right");
        contexts.set("a", "y");
        contexts.save().expect("it is ours");
        let kept: Value = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
        assert_eq!(kept, json!({"new": 1, "contexts": {"a": {"server": "y", "tls": true}}}));
        for wrong in ["", "[]", "{", r#"{"current":1}"#, r#"{"contexts":[]}"#, r#"{"contexts":{"a":{}}}"#] {
            let error = load(wrong).expect_err(wrong);
            assert!(matches!(error, Ended::With { code: Code::InputOutput, .. }), "{wrong}: {error:?}");
        }
    }
}
