//! A directory of the system's, with a lock file that keeps other processes out.

use super::{Claim, Disk, DiskFile};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};

const LOCK: &str = "lock";

/// A directory that belongs to one log; made when it is not there.
pub struct Directory(pub PathBuf);

/// Makes the entries of a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Directory {
    /// Makes the directory, and makes durable that it is there.
    fn make(&self) -> io::Result<()> {
        let path = path::absolute(&self.0)?;
        let made: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(&path)?;
        made.iter().filter_map(|made| made.parent()).try_for_each(sync_directory)
    }
}

impl Disk for Directory {
    fn claim(&self) -> io::Result<Claim> {
        self.make()?;
        let lock = File::options().create(true).truncate(false).write(true).open(self.path(LOCK))?;
        lock.try_lock()?;
        Ok(Box::new(lock))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        let file = match File::options().read(true).write(true).open(self.path(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // Somebody may have deleted the lock file.
        file.try_lock()?;
        Ok(Some(Box::new(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        file.try_lock()?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_directory(&self.0)?;
        // A process may have been killed when it had made the directories and not yet synced them. Those that we may not list
        // were not made by us.
        for above in path::absolute(&self.0)?.ancestors().skip(1) {
            if let Err(error) = sync_directory(above) {
                tracing::debug!("{}: not synced: {error}", above.display());
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
