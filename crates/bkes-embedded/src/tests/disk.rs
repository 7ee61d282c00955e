//! The simulated directory as a disk of this crate.

use crate::disk::{Claim, Disk, DiskFile};
use bkes_testkit::directory::{SimulatedDirectory, SimulatedFile};
use std::io;
use std::path::PathBuf;

impl Disk for SimulatedDirectory {
    fn claim(&self) -> io::Result<Claim> {
        SimulatedDirectory::claim(self)
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        Ok(SimulatedDirectory::open(self, name)?.map(|file| Box::new(file) as Box<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SimulatedDirectory::create(self, name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        SimulatedDirectory::rename(self, from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        SimulatedDirectory::sync_names(self)
    }

    fn path(&self, name: &str) -> PathBuf {
        SimulatedDirectory::path(self, name)
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        SimulatedFile::length(self)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        SimulatedFile::set_length(self, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        SimulatedFile::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        SimulatedFile::sync_data(self)
    }
}
