//! What a worker and the supervisor say to each other about the queue, as words and as values. Pure; `docs/queue.md` is
//! the page for those who write it anew.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

/// The version of these words.
pub const VERSION: u32 = 1;

/// What one packet has at most. Who receives gives more room, so that a longer one shows.
pub const PACKET_BYTES_MAX: usize = 255;

/// The environment variable with the number of a worker's end of the queue.
pub const SOCKET_VARIABLE: &str = "REACTORD_QUEUE";

/// The environment variable with the path on which a worker is to answer successors, if it can.
pub const TAKEOVER_VARIABLE: &str = "REACTORD_TAKEOVER";

/// The environment variable with the path of the worker to take over from, for one that replaces it.
pub const PREDECESSOR_VARIABLE: &str = "REACTORD_PREDECESSOR";

/// A connection, as long as its supervisor lives. Increases in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// The first that a supervisor gives.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The one after this.
    ///
    /// # Panics
    /// After 2⁶⁴ connections.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("nobody accepts 2⁶⁴ connections"))
    }

    /// The number that stands for it.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// What the number stands for, if it may be one.
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Said by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// It serves, and speaks this version.
    Ready {
        /// Of these words.
        version: u32,
    },
    /// So many more connections may be sent.
    Want(NonZeroU32),
    /// This connection is the worker's from now on.
    Took(ConnectionId),
    /// This connection has ended.
    Done(ConnectionId),
}

/// Said by the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromSupervisor {
    /// A connection, whose descriptor comes with the packet.
    Connection {
        /// Which it is.
        id: ConnectionId,
        /// The client's address.
        peer: SocketAddr,
        /// The server's address.
        local: SocketAddr,
    },
    /// Take no more, finish, exit.
    Finish,
}

/// A packet that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    packet: String,
}

impl Malformed {
    fn new(packet: &[u8]) -> Self {
        Self { packet: packet.escape_ascii().to_string() }
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the packet \"{}\" is not understood", self.packet)
    }
}

impl fmt::Display for FromWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { version } => write!(f, "ready {version}"),
            Self::Want(credits) => write!(f, "want {credits}"),
            Self::Took(id) => write!(f, "took {id}"),
            Self::Done(id) => write!(f, "done {id}"),
        }
    }
}

impl fmt::Display for FromSupervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { id, peer, local } => write!(f, "connection {id} {peer} {local}"),
            Self::Finish => f.write_str("finish"),
        }
    }
}

impl FromWorker {
    /// What a packet says.
    ///
    /// # Errors
    /// If a worker may not say that.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let said = match *words(packet)?.as_slice() {
            ["ready", version] => number(version).map(|version| Self::Ready { version }),
            ["want", credits] => number(credits).map(Self::Want),
            ["took", id] => number(id).map(ConnectionId).map(Self::Took),
            ["done", id] => number(id).map(ConnectionId).map(Self::Done),
            _ => None,
        };
        said.ok_or_else(|| Malformed::new(packet))
    }
}

impl FromSupervisor {
    /// What a packet says, or `None` if it begins with a word of a later version.
    ///
    /// # Errors
    /// If the supervisor may not say that.
    pub fn parse(packet: &[u8]) -> Result<Option<Self>, Malformed> {
        let said = match *words(packet)?.as_slice() {
            ["connection", id, peer, local] => {
                let id = number(id).map(ConnectionId);
                let (peer, local) = (peer.parse().ok(), local.parse().ok());
                id.zip(peer).zip(local).map(|((id, peer), local)| Self::Connection { id, peer, local })
            }
            ["finish"] => Some(Self::Finish),
            ["connection" | "finish", ..] => None,
            _ => return Ok(None),
        };
        said.map(Some).ok_or_else(|| Malformed::new(packet))
    }
}

fn words(packet: &[u8]) -> Result<Vec<&str>, Malformed> {
    let text = str::from_utf8(packet).ok().filter(|text| text.is_ascii() && packet.len() <= PACKET_BYTES_MAX);
    let words: Vec<&str> = text.ok_or_else(|| Malformed::new(packet))?.split(' ').collect();
    if words.iter().any(|word| word.is_empty() || word.contains(|letter: char| letter.is_ascii_control())) {
        return Err(Malformed::new(packet));
    }
    Ok(words)
}

/// A number in decimal, written as it would be written here.
fn number<N: FromStr>(word: &str) -> Option<N> {
    let plain = word.bytes().all(|digit| digit.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_worker_says_is_written_as_the_page_has_it() {
        let id = ConnectionId::FIRST.next();
        for (said, packet) in [
            (FromWorker::Ready { version: VERSION }, "ready 1"),
            (FromWorker::Want(NonZeroU32::MAX), "want 4294967295"),
            (FromWorker::Took(id), "took 2"),
            (FromWorker::Done(id), "done 2"),
        ] {
            assert_eq!(said.to_string(), packet);
            assert_eq!(FromWorker::parse(packet.as_bytes()), Ok(said));
        }
    }

    #[test]
    fn what_the_supervisor_says_is_written_as_the_page_has_it() {
        let id = ConnectionId::FIRST;
        let (peer, local) = ("192.0.2.7:50120".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
        for (said, packet) in [
            (FromSupervisor::Connection { id, peer, local }, "connection 1 192.0.2.7:50120 [2001:db8::1]:80"),
            (FromSupervisor::Finish, "finish"),
        ] {
            assert_eq!(said.to_string(), packet);
            assert_eq!(FromSupervisor::parse(packet.as_bytes()), Ok(Some(said)));
        }
    }

    #[test]
    fn the_longest_message_fits_into_a_packet() {
        let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let id = ConnectionId(NonZeroU64::MAX);
        let longest = FromSupervisor::Connection { id, peer: address, local: address }.to_string();
        assert!(longest.len() <= PACKET_BYTES_MAX, "{longest}");
    }

    #[test]
    fn a_worker_may_not_say_anything_else() {
        let long = format!("took {}", "1".repeat(PACKET_BYTES_MAX));
        for packet in [
            "",
            " ",
            "ready",
            "ready ",
            "ready  1",
            " ready 1",
            "ready 1 ",
            "ready 1\n",
            "ready\t1",
            "READY 1",
            "ready 01",
            "ready +1",
            "ready 1 1",
            "want 0",
            "want -1",
            "want 4294967296",
            "took 0",
            "took 18446744073709551616",
            "done x",
            "leave",
            "want \u{661}",
            &long,
        ] {
            assert!(FromWorker::parse(packet.as_bytes()).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_worker_passes_over_words_of_a_later_version_and_stops_at_known_ones_that_are_wrong() {
        for packet in ["drain 5", "finished", "x"] {
            assert_eq!(FromSupervisor::parse(packet.as_bytes()), Ok(None));
        }
        for packet in [
            "",
            "finish now",
            "connection",
            "connection 1 127.0.0.1:1",
            "connection 0 127.0.0.1:1 127.0.0.1:2",
            "connection 1 127.0.0.1 127.0.0.1:2",
            "connection 1 127.0.0.1:1 ::1:2",
            "connection 1 127.0.0.1:1 127.0.0.1:2 3",
            "finish\0",
        ] {
            assert!(FromSupervisor::parse(packet.as_bytes()).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_packet_is_quoted_so_that_it_cannot_forge_a_line_of_the_log() {
        let error = FromWorker::parse(b"x\n\x1b[31m\xff").unwrap_err();
        assert_eq!(error.to_string(), r#"the packet "x\n\x1b[31m\xff" is not understood"#);
    }

    proptest! {
        #[test]
        fn whatever_is_understood_is_written_the_same_again(packet in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(ready|want|took|done|connection|finish)( [0-9]{1,21}| \\[?[0-9a-f.:]{1,12}\\]?:[0-9]{1,5}){0,4}"
                .prop_map(String::into_bytes),
        ]) {
            if let Ok(said) = FromWorker::parse(&packet) {
                prop_assert_eq!(said.to_string().into_bytes(), packet.clone());
            }
            if let Ok(Some(FromSupervisor::Connection { id, peer, local })) = FromSupervisor::parse(&packet) {
                let again = FromSupervisor::Connection { id, peer, local };
                prop_assert_eq!(FromSupervisor::parse(again.to_string().as_bytes()), Ok(Some(again)));
            }
        }
    }
}
