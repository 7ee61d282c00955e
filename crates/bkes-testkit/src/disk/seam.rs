//! How the simulated disk becomes a disk of the store.

/// Implements the disk traits of `bkes_storage` for [`SimulatedDisk`](crate::disk::SimulatedDisk) and its files.
///
/// `impl_disk!(bkes_storage)` stands in this crate, for everybody. Unit tests of bkes-storage are another crate to the compiler than
/// the bkes-storage that this one is built with, with traits of their own: there stands `impl_disk!(crate)`.
#[macro_export]
macro_rules! impl_disk {
    ($storage:tt) => {
        impl $storage::disk::Disk for $crate::disk::SimulatedDisk {
            fn claim(&self) -> std::io::Result<$storage::disk::Claim> {
                $crate::disk::SimulatedDisk::claim(self)
            }

            fn open(&self) -> std::io::Result<Box<dyn $storage::disk::DiskFile>> {
                Ok(Box::new($crate::disk::SimulatedDisk::open(self)?))
            }

            fn open_values(&self) -> std::io::Result<Box<dyn $storage::disk::DiskFile>> {
                Ok(Box::new($crate::disk::SimulatedDisk::open_values(self)?))
            }

            fn try_room(&self, bytes: u64) -> std::io::Result<()> {
                $crate::disk::SimulatedDisk::try_room(self, bytes)
            }

            fn set_aside(&self) -> std::io::Result<std::path::PathBuf> {
                $crate::disk::SimulatedDisk::set_aside(self)
            }

            fn remove(&self) -> std::io::Result<()> {
                $crate::disk::SimulatedDisk::remove(self)
            }

            fn file_bytes(&self) -> u64 {
                $crate::disk::SimulatedDisk::file_bytes(self)
            }

            fn path(&self) -> std::path::PathBuf {
                $crate::disk::SimulatedDisk::path(self)
            }
        }

        impl $storage::disk::DiskFile for $crate::disk::SimulatedFile {
            fn length(&self) -> std::io::Result<u64> {
                $crate::disk::SimulatedFile::length(self)
            }

            fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
                $crate::disk::SimulatedFile::read(self, offset, out)
            }

            fn set_length(&self, length: u64) -> std::io::Result<()> {
                $crate::disk::SimulatedFile::set_length(self, length)
            }

            fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
                $crate::disk::SimulatedFile::write(self, offset, data)
            }

            fn sync(&self) -> std::io::Result<()> {
                $crate::disk::SimulatedFile::sync(self)
            }

            fn discard(&self, range: std::ops::Range<u64>) -> std::io::Result<()> {
                $crate::disk::SimulatedFile::discard(self, range)
            }
        }
    };
}

impl_disk!(bkes_storage);
