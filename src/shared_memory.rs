//! Memory that more than one process has: a file without a name, which each of them maps.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// Nobody may make it shorter, which would kill whoever looks at what is gone.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The memory, as this process sees it.
#[derive(Debug)]
pub(crate) struct SharedMemory(MmapRegion);

impl SharedMemory {
    /// So many bytes, all of them 0, of which nobody else knows; and the descriptor with which another process sees them.
    ///
    /// # Errors
    /// If there are none to be had.
    pub(crate) fn new(name: &str, bytes: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes as u64)?;
        fcntl_add_seals(&file, SEALS)?;
        Ok((Self::map(file.try_clone()?, bytes)?, file))
    }

    /// The memory of another process, which has so many bytes.
    ///
    /// # Errors
    /// If it is not that, or could become less while it is looked at.
    pub(crate) fn of(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        let (there, seals) = (fstat(&file)?.st_size, fcntl_get_seals(&file)?);
        if usize::try_from(there) != Ok(bytes) || !seals.contains(SEALS) {
            let what = format!("{there} bytes of shared memory, where {bytes} that stay were expected");
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        Self::map(file, bytes)
    }

    fn map(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        let region = MmapRegion::from_file(FileOffset::new(File::from(file), 0), bytes);
        Ok(Self(region.map_err(io::Error::other)?))
    }

    /// The word at this offset.
    ///
    /// # Panics
    /// If it is not within the memory, or not aligned.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        self.0.get_atomic_ref(at).expect("it is within the memory, and aligned")
    }

    /// The same of a half one.
    ///
    /// # Panics
    /// As [`SharedMemory::word`].
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        self.0.get_atomic_ref(at).expect("it is within the memory, and aligned")
    }

    /// So many bytes from this offset on.
    ///
    /// # Panics
    /// If they are not within the memory.
    pub(crate) fn slice(&self, at: usize, count: usize) -> VolatileSlice<'_> {
        self.0.get_slice(at, count).expect("it is within the memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_other_sees() {
        let (one, file) = SharedMemory::new("a test", 4096).unwrap();
        let other = SharedMemory::of(file, 4096).unwrap();
        one.word(8).store(7, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(other.word(8).load(std::sync::atomic::Ordering::Relaxed), 7);
    }

    #[test]
    fn memory_that_could_become_less_or_is_of_another_size_is_refused() {
        let (_, file) = SharedMemory::new("a test", 8192).unwrap();
        assert!(SharedMemory::of(file, 4096).is_err());
        let unsealed = memfd_create("a test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 4096).unwrap();
        let error = SharedMemory::of(unsealed, 4096).unwrap_err();
        assert_eq!(error.to_string(), "4096 bytes of shared memory, where 4096 that stay were expected");
    }
}
