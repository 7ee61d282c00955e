//! Why a path under the data path cannot be used, and the cure: containers run as a user of their own, and a volume may belong
//! to another one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who may do what to a directory or file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rights {
    path: PathBuf,
    owner: User,
    mode: u32,
}

/// A user and its group, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

/// What to do about `path`, which could not be used for the reason `error`; `None` where the error says it all.
pub fn advice(data_path: &Path, path: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Some(permission(data_path, nearest(path).as_ref(), current_user()))
        }
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{} lies on a file system that is mounted read-only: mount it writable, or choose another directory with \
             --data-path (DATA_PATH)",
            data_path.display()
        )),
        _ => None,
    }
}

fn permission(data_path: &Path, rights: Option<&Rights>, user: User) -> String {
    let User { uid, gid } = user;
    let found = match rights {
        Some(Rights { path, owner, mode }) => format!(
            "{} belongs to uid {}, gid {} with mode {mode:04o}, and the server runs as uid {uid}, gid {gid}",
            path.display(),
            owner.uid,
            owner.gid
        ),
        None => format!("the server runs as uid {uid}, gid {gid}"),
    };
    format!(
        "{found}. Give the directory to that user, on the host or in a container that mounts the volume, with: \
         chown -R {uid}:{gid} {}; or mount an empty volume; or choose another directory with --data-path (DATA_PATH)",
        data_path.display()
    )
}

/// The rights of a path, or of the nearest directory above it that is there and can be seen.
fn nearest(path: &Path) -> Option<Rights> {
    path.ancestors().find_map(|path| {
        // The parent of a relative path's first part is the empty path.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let found = fs::metadata(path).ok()?;
        let owner = User { uid: found.uid(), gid: found.gid() };
        Some(Rights { path: path.to_owned(), owner, mode: found.mode() & 0o7777 })
    })
}

fn current_user() -> User {
    User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_directory_owner_user_and_cure() {
        let rights = Rights { path: "/opt/data".into(), owner: User { uid: 0, gid: 5 }, mode: 0o755 };
        let said = permission(Path::new("/opt/data"), Some(&rights), User { uid: 10_001, gid: 10_002 });
        for part in [
            "/opt/data belongs to uid 0, gid 5 with mode 0755",
            "the server runs as uid 10001, gid 10002",
            "chown -R 10001:10002 /opt/data",
            "--data-path (DATA_PATH)",
        ] {
            assert!(said.contains(part), "{part:?} is missing: {said}");
        }
    }

    #[test]
    fn the_nearest_directory_that_is_there_is_described() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let rights = nearest(&directory.path().join("bkes/store/lock")).expect("it is there");
        assert_eq!((rights.path.as_path(), rights.owner), (directory.path(), current_user()));
        assert_eq!(nearest(Path::new("no-such-folder/at-all")).expect("it is there").path, Path::new("."));
    }

    #[test]
    fn only_what_the_user_can_cure_gets_advice() {
        let path = Path::new("/data");
        let of = |kind: io::ErrorKind| advice(path, path, &io::Error::from(kind));
        assert!(of(io::ErrorKind::PermissionDenied).expect("advice").contains("chown"));
        assert!(of(io::ErrorKind::ReadOnlyFilesystem).expect("advice").contains("mounted read-only"));
        assert_eq!(of(io::ErrorKind::NotADirectory), None);
    }
}
