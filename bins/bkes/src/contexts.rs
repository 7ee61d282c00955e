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
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Links that are followed from one to the next: as many as Linux follows.
const LINKS_MAX: u32 = 40;

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
            // Something else is where its folder would be: it is as if there were none.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Map::new()
            }
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
            // One without a server is told when it is asked for: the others, and its removal, do not wait for that.
            None | Some(Value::Object(_)) => Ok(()),
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
            if self.entry(name).is_some() {
                return wrong(&self.path, format_args!("context {name:?} has no \"server\""))
                    .advise("Give it one by bkes context set, or forget it by bkes context remove.");
            }
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

    fn entry(&self, name: &str) -> Option<&Value> {
        self.root.get("contexts")?.get(name)
    }

    /// The names of those that have no server.
    pub fn without_server(&self) -> impl Iterator<Item = &str> {
        let all = self.root.get("contexts").and_then(Value::as_object).into_iter().flatten();
        all.filter(|(_, one)| !one.get("server").is_some_and(Value::is_string)).map(|(name, _)| name.as_str())
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
        if self.entry(name).is_none() {
            self.server(name)?;
        }
        if let Some(all) = self.root.get_mut("contexts").and_then(Value::as_object_mut) {
            all.remove(name);
        }
        if self.current() == Some(name) {
            self.root.remove("current");
        }
        Ok(())
    }

    /// Writes the file, as a whole or not at all. Where it is a link, the file that it leads to is written; and who may read it stays so.
    pub fn save(&self) -> Result<(), Ended> {
        let failed = |error| Ended::file(&self.path, error);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let path = self.target().map_err(failed)?;
        let mut written = path.clone().into_os_string();
        written.push(format!(".{}", std::process::id()));
        let saved = self.write_to(Path::new(&written), &path).and_then(|()| fs::rename(&written, &path));
        saved.map_err(|error| {
            // What is left beside the file, if that fails too, does no harm.
            drop(fs::remove_file(&written));
            failed(error)
        })
    }

    /// The file that is written: what the path leads to over links, also where that is not there yet.
    fn target(&self) -> io::Result<PathBuf> {
        let mut path = self.path.clone();
        for _ in 0..LINKS_MAX {
            match fs::read_link(&path) {
                // A relative link is meant from its own folder.
                Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) =>
                {
                    return Ok(path);
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many links lead to each other"))
    }

    fn write_to(&self, written: &Path, path: &Path) -> io::Result<()> {
        let mut file = fs::File::create(written)?;
        match fs::metadata(path) {
            // Before anything is in it.
            Ok(there) => file.set_permissions(there.permissions())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        writeln!(file, "{:#}", Value::Object(self.root.clone()))
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
        for wrong in ["", "[]", "{", r#"{"current":1}"#, r#"{"contexts":[]}"#] {
            let error = load(wrong).expect_err(wrong);
            assert!(matches!(error, Ended::With { code: Code::InputOutput, .. }), "{wrong}: {error:?}");
        }
    }

    /// The story: one entry by hand without a server, and nothing worked any more, its removal included.
    #[test]
    fn an_entry_without_a_server_harms_nothing_but_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.json");
        fs::write(&path, r#"{"contexts":{"a":{},"b":{"server":"x"},"c":7}}"#).expect("it is ours");
        let mut contexts = Contexts::load(&path).expect("the others are right");
        assert_eq!(contexts.list().collect::<Vec<_>>(), [("b", "x")]);
        assert_eq!(contexts.without_server().collect::<Vec<_>>(), ["a", "c"]);
        let error = contexts.server("a").expect_err("it has none");
        assert!(matches!(&error, Ended::With { message, .. } if message.contains("has no")), "{error:?}");
        contexts.remove("a").expect("it is there");
        contexts.set("c", "y");
        assert_eq!(contexts.list().collect::<Vec<_>>(), [("b", "x"), ("c", "y")]);
    }

    #[test]
    fn where_no_folder_can_be_there_are_no_contexts() {
        let path = Path::new("/dev/null/.config/bkes/contexts.json");
        assert_eq!(Contexts::load(path).expect("none is asked for").list().count(), 0);
    }

    /// The story: a link into a directory of settings was replaced by a file, and one that only its owner could read by one for all.
    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_who_may_read_it_stays_so() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (link, second, file) =
            (folder.path().join("link"), folder.path().join("second"), folder.path().join("file"));
        symlink("second", &link).expect("it is ours");
        symlink(&file, &second).expect("it is ours");
        let mut contexts = Contexts::load(&link).expect("no file is no error");
        contexts.set("a", "x");
        contexts.save().expect("where the links lead to");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        contexts.set("a", "y");
        contexts.save().expect("where the links lead to");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(Contexts::load(&file).expect("it was written").server("a"), Ok("y"));
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 3, "nothing is left beside it");
        // Nor after a write that failed.
        fs::remove_file(&file).expect("it is ours");
        fs::create_dir(&file).expect("it is ours");
        assert!(contexts.save().is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 3, "nothing is left beside it");
        fs::remove_file(&second).expect("it is ours");
        symlink("link", &second).expect("it is ours");
        assert!(contexts.save().is_err(), "they lead to each other");
    }
}
