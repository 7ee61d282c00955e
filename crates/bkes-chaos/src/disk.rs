//! Data on the disk of an instance: a small file system that can be full, and files that can be damaged.

use anyhow::{Context, bail};
use fastrand::Rng;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory of this size, for one instance.
const SMALL_MIB: u32 = 48;

/// A small file system, mounted on a folder until it is dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one; an error says why that cannot be done here.
    pub fn mount(folder: &Path) -> anyhow::Result<SmallDisk> {
        fs::create_dir_all(folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SMALL_MIB}m"), "tmpfs"]).arg(folder);
        let output = mount.output().context("mount")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(SmallDisk { folder: folder.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes all the room that is left; how many bytes that was.
    pub fn fill(&self) -> anyhow::Result<u64> {
        let mut file = File::create(self.ballast())?;
        let (piece, mut written) = ([0u8; 64 * 1024], 0);
        while let Ok(count @ 1..) = file.write(&piece) {
            written += count as u64;
            if written > u64::from(SMALL_MIB) * 1024 * 1024 {
                bail!("{} takes more than its size", self.folder.display());
            }
        }
        Ok(written)
    }

    /// Gives the room back.
    pub fn free(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.display());
        }
    }
}

/// Ends a mount that an earlier run left, if one did.
pub fn unmount_left(folder: &Path) {
    let mut umount = Command::new("umount");
    // Mostly there is none; what cannot be ended shows when the folder is removed.
    let _ = umount.arg("--lazy").arg(folder).stderr(std::process::Stdio::null()).status();
}

/// The store's file: the largest in its folder. `None` when there is none yet.
fn store_file(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten();
    let sized = files.filter_map(|entry| {
        let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((found.len(), entry.path()))
    });
    sized.max().map(|(_, path)| path)
}

/// Changes a few bytes anywhere in the store's file; whether there was one.
pub fn flip(folder: &Path, random: &mut Rng) -> anyhow::Result<bool> {
    let Some(path) = store_file(folder) else { return Ok(false) };
    let mut file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    for _ in 0..random.u8(1..30) {
        let place = random.u64(..length.max(1));
        let mut byte = [0];
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(place))?;
        file.write_all(&[byte[0] ^ random.u8(1..)])?;
    }
    Ok(length > 0)
}

/// Cuts the store's file short; whether there was one.
pub fn truncate(folder: &Path, random: &mut Rng) -> anyhow::Result<bool> {
    let Some(path) = store_file(folder) else { return Ok(false) };
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.set_len(random.u64(..length.max(1)))?;
    Ok(length > 0)
}

/// Removes the store; whether there was one.
pub fn delete(folder: &Path) -> anyhow::Result<bool> {
    let was_there = folder.exists();
    if was_there {
        fs::remove_dir_all(folder)?;
    }
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_done_to_the_largest_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (large, small) = (folder.path().join("large"), folder.path().join("small"));
        fs::write(&large, [7; 1_000]).expect("it is written");
        fs::write(&small, [7; 10]).expect("it is written");
        let mut random = Rng::with_seed(1);
        assert!(flip(folder.path(), &mut random).expect("it can be changed"));
        let changed = fs::read(&large).expect("it is there");
        assert!(changed.len() == 1_000 && changed.iter().any(|byte| *byte != 7));
        assert!(truncate(folder.path(), &mut random).expect("it can be cut"));
        assert!(fs::read(&large).expect("it is there").len() < 1_000);
        assert_eq!(fs::read(&small).expect("it is there"), [7; 10]);
        assert!(delete(folder.path()).expect("it can be removed"));
        assert!(!delete(folder.path()).expect("there is nothing"));
        assert!(!flip(folder.path(), &mut random).expect("there is nothing"));
    }
}
