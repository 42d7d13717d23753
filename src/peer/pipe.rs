//! A pipe through which the kernel passes bytes from one socket to another without copying them (splice(2)).
//!
//! Whoever uses it leaves it empty, or throws it away: so no byte of one peer gets to another, and none is in it when the
//! peers belong to another process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use nix::sys::signal::Signal;
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::dispositions::Dispositions;

/// So much goes through at once: no more than that is left over when whom it is for takes no more.
pub(crate) const PIPED_BYTES_MAX: usize = 64 * 1024;

/// It has room for more, since each segment that has come takes up a page of it, however little is on that.
const ROOM_BYTES: usize = 256 * 1024;

const WITHOUT_WAITING: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// To splice into a connection that the other side has reset sends SIGPIPE to whoever does it, and that cannot be
/// prevented as it can where bytes are written. Rust's programs ignore it, unless they say otherwise.
static OUTLIVES_RESETS: LazyLock<bool> = LazyLock::new(|| {
    let (number, dispositions) = (Signal::SIGPIPE as i32, Dispositions::now());
    dispositions.is_ignored(number) || dispositions.is_handled(number)
});

/// Both ends of a pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    mouth: OwnedFd,
    spout: OwnedFd,
}

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    /// If none can be had, or if SIGPIPE ends this process.
    pub(crate) fn open() -> io::Result<Self> {
        if !*OUTLIVES_RESETS {
            return Err(io::Error::other("SIGPIPE ends this process"));
        }
        let (spout, mouth) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Where this user has too many pipes already (pipe(7)), less goes through at once.
        let _ = fcntl_setpipe_size(&mouth, ROOM_BYTES);
        Ok(Self { mouth, spout })
    }

    /// Takes in what has come at a socket, and says how many bytes that is. If there is nothing, that says little: bytes
    /// before which there are urgent ones (tcp(7)) do not go in here, and neither does the end.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        match retry_on_intr(|| splice(&from, None, &self.mouth, None, PIPED_BYTES_MAX, WITHOUT_WAITING)) {
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => Ok(0),
            filled => Ok(filled?),
        }
    }

    /// Gives a socket as much of the `bytes` that are in it as that takes, and says how many are left.
    ///
    /// # Errors
    /// If the connection is lost: then an unknown number is left.
    pub(crate) fn empty_into(&mut self, to: impl AsFd, bytes: usize) -> io::Result<usize> {
        let mut left = bytes;
        while left > 0 {
            match retry_on_intr(|| splice(&self.spout, None, &to, None, left, WITHOUT_WAITING)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => left -= taken,
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left)
    }

    /// Reads out what is left in it.
    ///
    /// # Errors
    /// If that is less than `rest` has room for.
    pub(crate) fn read_out(&mut self, rest: &mut [u8]) -> io::Result<()> {
        let mut read = 0;
        while read < rest.len() {
            match retry_on_intr(|| rustix::io::read(&self.spout, &mut rest[read..]))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        (client, listener.accept().expect("somebody has connected").0)
    }

    /// A socket that takes no more.
    fn full() -> (TcpStream, TcpStream) {
        let (mut to, end) = tcp();
        to.set_nonblocking(true).unwrap();
        while to.write(&[0; 1 << 16]).is_ok() {}
        (to, end)
    }

    #[test]
    fn what_goes_in_comes_out_or_can_be_read_out_when_nobody_takes_it() {
        let (mut sender, from) = tcp();
        sender.write_all(b"all of it").unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 9);
        let (to, mut receiver) = tcp();
        assert_eq!(pipe.empty_into(&to, 4).unwrap(), 0);
        let (to_full, _end) = full();
        assert_eq!(pipe.empty_into(&to_full, 5).unwrap(), 5);
        let mut rest = [0; 5];
        pipe.read_out(&mut rest).unwrap();
        assert_eq!(&rest, b"of it");
        assert_eq!(pipe.read_out(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "it is empty");
        let mut received = [0; 4];
        receiver.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"all ");
    }

    #[test]
    fn from_unix_sockets_and_into_them_it_leads_as_well() {
        let (mut sender, from) = std::os::unix::net::UnixStream::pair().unwrap();
        let (to, mut receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        sender.write_all(b"local").unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 5);
        assert_eq!(pipe.empty_into(&to, 5).unwrap(), 0);
        let mut received = [0; 5];
        receiver.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"local");
    }

    #[test]
    fn nothing_urgent_and_no_end_goes_in() {
        let (mut sender, from) = tcp();
        sender.write_all(b"before").unwrap();
        rustix::net::send(&sender, b"!", rustix::net::SendFlags::OOB).unwrap();
        sender.write_all(b"after").unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 6);
        assert_eq!(pipe.fill(&from).unwrap(), 0, "there is more, which is to be read");
        let (mut rest, mut from) = (Vec::new(), from);
        from.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"after");
        assert_eq!(pipe.fill(&from).unwrap(), 0);
    }

    #[test]
    fn a_connection_that_is_lost_is_an_error_and_ends_nothing_else() {
        let (mut sender, from) = tcp();
        let (to, end) = tcp();
        rustix::net::connect_unspec(&end).unwrap();
        sender.write_all(b"for nobody").unwrap();
        let mut pipe = Pipe::open().unwrap();
        let bytes = pipe.fill(&from).unwrap();
        let error = pipe.empty_into(&to, bytes).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
    }
}
