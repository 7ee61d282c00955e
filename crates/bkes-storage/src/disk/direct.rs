//! Writing past the system's cache.
//!
//! The system then takes no memory for what is written and copies nothing; whoever writes waits for the disk. Linux does that for a
//! file that is opened so (`O_DIRECT`), if offset, length and memory are multiples of a block. Not every file system can: where one refuses,
//! everything is written as usual.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that is there already, opened once more for such writes.
#[derive(Debug)]
pub struct Direct {
    /// None where the system has no such thing, or refuses to open it.
    file: Option<File>,
    /// A write was refused for what it was: the next ones would be too.
    is_refused: AtomicBool,
}

impl Direct {
    /// Opens a file, if that can be done.
    pub fn open(path: &Path) -> Direct {
        Direct { file: opened(path), is_refused: AtomicBool::new(false) }
    }

    /// Writes all of `blocks` from this place on, unless it cannot be done in this way: then it says so, and what is in the file there is
    /// open.
    pub fn write(&self, offset: u64, blocks: &[u8]) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| !self.is_refused.load(Ordering::Relaxed)) else {
            return Ok(false);
        };
        match file.write_all_at(blocks, offset) {
            // Also for the rest of a write that the system ended within a block: that happens on a disk that becomes full, and the way
            // through the cache finds it so.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }
}

#[cfg(target_os = "linux")]
fn opened(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn opened(_: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{BLOCK, Directory, Disk};

    /// Where memory does not lie as the disk wants it, some systems refuse and some do not.
    #[test]
    fn what_is_written_past_the_cache_is_found_in_the_file_whether_or_not_that_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = Directory(directory.path().to_owned()).open_values().expect("it is made");
        let (mut model, mut random) = (Vec::new(), fastrand::Rng::with_seed(2));
        for round in 0..40 {
            let length = random.usize(1..6) * BLOCK;
            let memory: Vec<u8> = (0..length + 2 * BLOCK).map(|_| random.u8(..)).collect();
            let aligned = memory.as_ptr().align_offset(BLOCK) % BLOCK;
            let blocks = &memory[aligned + usize::from(round > 30)..][..length];
            let offset = random.usize(..=model.len() / BLOCK) * BLOCK;
            model.resize(model.len().max(offset + length), 0);
            model[offset..offset + length].copy_from_slice(blocks);
            let past_cache = random.u8(..3) > 0;
            let written = match past_cache {
                true => file.write_past_cache(offset as u64, blocks),
                false => file.write(offset as u64, blocks),
            };
            written.expect("there is room");
            let mut found = vec![0; model.len()];
            file.read(0, &mut found).expect("it is there");
            assert!(found == model, "round {round}");
        }
        file.sync().expect("it is synced");
    }

    #[test]
    fn a_file_that_refused_once_is_not_asked_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        File::create(&path).expect("it is made");
        let direct = Direct::open(&path);
        let memory = vec![0; 2 * BLOCK];
        let blocks = &memory[memory.as_ptr().align_offset(BLOCK) % BLOCK..][..BLOCK];
        // There is no such place, whatever the file system.
        assert!(!direct.write(1 << 63, blocks).expect("it is only refused"));
        assert!(!direct.write(0, blocks).expect("it is not tried"));
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 0);
    }
}
