//! The right to serve on after the death of the process that has given it. It is taken back without waiting for whoever has
//! it, who may be stopped or may not listen: so at no time two processes have it.
//!
//! It is a pipe. Whoever gives the licence holds one end, and writes a byte there to take it back; whoever has it looks for that
//! byte when the giver is dead, and cannot write any more.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The giver's end.
#[derive(Debug)]
pub(super) struct Licensor {
    writer: PipeWriter,
    reader: PipeReader,
}

impl Licensor {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { writer, reader })
    }

    /// What whoever gets the licence is to be sent.
    pub(super) fn licence(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for Licensor {
    /// Nobody who does not follow this process any more serves on after its death. A process that is killed drops nothing, and one that
    /// panics takes nothing back: that is a death, too.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // There is room for a byte, and a reader: this end's own.
        self.writer.write_all(&[0]).expect("an empty pipe takes a byte");
    }
}

/// The licence.
#[derive(Debug)]
pub(super) struct Licence(OwnedFd);

impl From<OwnedFd> for Licence {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Licence {
    /// Whether it was taken back. It is final when whoever has given it is dead.
    pub(super) fn is_revoked(&self) -> bool {
        let mut looked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // What cannot be looked at allows nothing.
        let seen = poll(&mut looked, PollTimeout::ZERO);
        seen.is_err() || looked[0].revents().is_none_or(|seen| seen.intersects(PollFlags::POLLIN | PollFlags::POLLNVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(of: &Licensor) -> Licence {
        of.licence().try_clone_to_owned().unwrap().into()
    }

    #[test]
    fn a_licence_is_good_until_it_is_taken_back() {
        let licensor = Licensor::new().unwrap();
        let licence = licence(&licensor);
        assert!(!licence.is_revoked());
        drop(licensor);
        assert!(licence.is_revoked());
    }

    #[test]
    fn who_panics_takes_nothing_back() {
        let licensor = Licensor::new().unwrap();
        let licence = licence(&licensor);
        let panicked = std::thread::spawn(move || {
            let _licensor = licensor;
            panic!("as a service may");
        });
        assert!(panicked.join().is_err() && !licence.is_revoked());
    }

    #[test]
    fn who_dies_takes_nothing_back() {
        let licensor = Licensor::new().unwrap();
        let licence = licence(&licensor);
        let Licensor { writer, reader } = &licensor;
        // As the kernel does it, which runs no code of the process.
        let ends = [rustix::io::dup(writer).unwrap(), rustix::io::dup(reader).unwrap()];
        std::mem::forget(licensor);
        drop(ends);
        assert!(!licence.is_revoked());
    }
}
