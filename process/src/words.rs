//! What a worker and the supervisor say to each other about the queue, as words and as values. Pure; `docs/queue.md` is
//! the page for those who write it anew.
//!
//! A packet is words, and after some of them, from version 2 on, a newline and a **state**: bytes of any value that
//! belong to a connection which is given back, and to whoever serves it next.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

/// The version of these words.
pub const VERSION: u32 = 2;

/// The version before: it has no states, and of the words only `ready`, `want`, `took`, `done`, `connection`, `finish`.
pub const VERSION_WITHOUT_STATES: u32 = 1;

/// What the words of one packet have at most, in bytes.
pub const WORDS_BYTES_MAX: usize = 255;

/// What the state of one connection has at most, in bytes.
pub const STATE_BYTES_MAX: usize = 65_536;

/// What one packet has at most: words, a newline and a state. Who receives gives more room, so that a longer one shows.
pub const PACKET_BYTES_MAX: usize = WORDS_BYTES_MAX + 1 + STATE_BYTES_MAX;

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

/// A part of what there is: so many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    part: u32,
    whole: NonZeroU32,
}

impl Fraction {
    /// So many of so many. `None` if they are more than all.
    pub fn new(part: u32, whole: NonZeroU32) -> Option<Self> {
        (part <= whole.get()).then_some(Self { part, whole })
    }

    /// All of them.
    pub fn all() -> Self {
        Self { part: 1, whole: NonZeroU32::MIN }
    }

    /// How many that is of `count`, rounded to the nearest; half of one counts as one.
    pub fn of(self, count: u64) -> u64 {
        let (part, whole) = (u128::from(self.part), u128::from(self.whole.get()));
        let nearest = (u128::from(count) * part * 2 + whole) / (whole * 2);
        u64::try_from(nearest).expect("a part is not more than all")
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.whole)
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
    /// This connection is the supervisor's again. Its descriptor comes with the packet, and its state follows.
    Back(ConnectionId),
    /// So many connections the worker has: it was asked to [count](FromSupervisor::Count) them.
    Holds(u32),
    /// So many were moved: it was told to [move](FromSupervisor::Move) some.
    Moved(u32),
    /// The process with this number follows it, and serves on as this worker when it has died. 0: none does any more.
    Standby(u32),
    /// The standby serves on, and has this connection, whether the process before it has said that it took it or not.
    Has(ConnectionId),
    /// The standby serves on, and has said which connections it has of those that were under way.
    Survived,
}

/// Said by the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromSupervisor {
    /// A connection, whose descriptor comes with the packet. If it was given back, its state follows.
    Connection {
        /// Which it is.
        id: ConnectionId,
        /// The client's address.
        peer: SocketAddr,
        /// The server's address.
        local: SocketAddr,
    },
    /// What was given back is refused: the connection is the worker's again. Its descriptor comes with the packet, and
    /// its state follows.
    Keep(ConnectionId),
    /// Give so many back, when you can, and go on.
    Give(NonZeroU32),
    /// Take no more, give back what you have or finish it, exit.
    Finish,
    /// Say how many connections you have.
    Count,
    /// Move this part of the peers to the server that answers there.
    Move {
        /// Which part.
        share: Fraction,
        /// A takeover path.
        path: String,
    },
    /// To the standby with this pid, which serves on: what was said before this was said to a process that has died.
    Resumed(NonZeroU32),
}

/// What a packet says, and the state that follows, if one does.
pub type Parsed<'p, Word> = (Word, Option<&'p [u8]>);

/// A packet that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Its words are not understood.
    Words {
        /// The words, in quotes.
        words: String,
    },
    /// Its state is too long, or should not be there, or is missing.
    State {
        /// The words before it.
        words: String,
        /// How many bytes it has; more than fit into a receiver's buffer are not counted.
        bytes: Option<usize>,
    },
}

impl Malformed {
    fn new(words: &[u8]) -> Self {
        Self::Words { words: quoted(words) }
    }
}

/// What was said, as it may be shown: no longer than it may be said.
fn quoted(words: &[u8]) -> String {
    match words.get(..WORDS_BYTES_MAX).filter(|shown| shown.len() < words.len()) {
        Some(shown) => format!("{}...", shown.escape_ascii()),
        None => words.escape_ascii().to_string(),
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words { words } => write!(f, "the packet \"{words}\" is not understood"),
            Self::State { words, bytes: None } => write!(f, "no state follows \"{words}\""),
            Self::State { words, bytes: Some(bytes) } if *bytes > STATE_BYTES_MAX => {
                write!(f, "a state of {bytes} bytes or more follows \"{words}\", {STATE_BYTES_MAX} are allowed")
            }
            Self::State { words, bytes: Some(bytes) } => {
                write!(f, "a state of {bytes} bytes follows \"{words}\", where none may")
            }
        }
    }
}

impl fmt::Display for FromWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { version } => write!(f, "ready {version}"),
            Self::Want(credits) => write!(f, "want {credits}"),
            Self::Took(id) => write!(f, "took {id}"),
            Self::Done(id) => write!(f, "done {id}"),
            Self::Back(id) => write!(f, "back {id}"),
            Self::Holds(count) => write!(f, "holds {count}"),
            Self::Moved(count) => write!(f, "moved {count}"),
            Self::Standby(pid) => write!(f, "standby {pid}"),
            Self::Has(id) => write!(f, "has {id}"),
            Self::Survived => f.write_str("survived"),
        }
    }
}

impl fmt::Display for FromSupervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { id, peer, local } => write!(f, "connection {id} {peer} {local}"),
            Self::Keep(id) => write!(f, "keep {id}"),
            Self::Give(count) => write!(f, "give {count}"),
            Self::Finish => f.write_str("finish"),
            Self::Count => f.write_str("count"),
            Self::Move { share, path } => write!(f, "move {share} {path}"),
            Self::Resumed(pid) => write!(f, "resumed {pid}"),
        }
    }
}

impl FromWorker {
    /// What a packet says, and the state after it.
    ///
    /// # Errors
    /// If a worker may not say that.
    pub fn parse(packet: &[u8]) -> Result<Parsed<'_, Self>, Malformed> {
        let (words, state) = parted(packet);
        let said = match *split(words)?.as_slice() {
            ["ready", version] => number(version).map(|version| Self::Ready { version }),
            ["want", credits] => number(credits).map(Self::Want),
            ["took", id] => number(id).map(ConnectionId).map(Self::Took),
            ["done", id] => number(id).map(ConnectionId).map(Self::Done),
            ["back", id] => number(id).map(ConnectionId).map(Self::Back),
            ["holds", count] => number(count).map(Self::Holds),
            ["moved", count] => number(count).map(Self::Moved),
            ["standby", pid] => number(pid).filter(|pid| i32::try_from(*pid).is_ok()).map(Self::Standby),
            ["has", id] => number(id).map(ConnectionId).map(Self::Has),
            ["survived"] => Some(Self::Survived),
            _ => None,
        };
        let said = said.ok_or_else(|| Malformed::new(words))?;
        let stated = if matches!(said, Self::Back(_)) { Stated::Always } else { Stated::Never };
        Ok((said, stated.check(words, state)?))
    }

    /// The packet that says it, with the state that follows.
    pub fn packet(&self, state: Option<&[u8]>) -> Vec<u8> {
        joined(self.to_string(), state)
    }
}

impl FromSupervisor {
    /// What a packet says, and the state after it, or `None` if it begins with a word of a later version.
    ///
    /// # Errors
    /// If the supervisor may not say that.
    pub fn parse(packet: &[u8]) -> Result<Option<Parsed<'_, Self>>, Malformed> {
        let (words, state) = parted(packet);
        let said = match words.strip_prefix(b"move ") {
            Some(rest) => Self::parse_move(rest).filter(|_| words.len() <= WORDS_BYTES_MAX),
            None => match Self::parse_words(&split(words)?) {
                Some(said) => said,
                None => return Ok(None),
            },
        };
        let said = said.ok_or_else(|| Malformed::new(words))?;
        let stated = match said {
            Self::Connection { .. } => Stated::IfGivenBack,
            Self::Keep(_) => Stated::Always,
            _ => Stated::Never,
        };
        let state = stated.check(words, state)?;
        Ok(Some((said, state)))
    }

    /// `None` for an unknown first word, or else what the words mean, if anything.
    fn parse_words(words: &[&str]) -> Option<Option<Self>> {
        Some(match *words {
            ["connection", id, peer, local] => {
                let id = number(id).map(ConnectionId);
                let (peer, local) = (peer.parse().ok(), local.parse().ok());
                id.zip(peer).zip(local).map(|((id, peer), local)| Self::Connection { id, peer, local })
            }
            ["keep", id] => number(id).map(ConnectionId).map(Self::Keep),
            ["give", count] => number(count).map(Self::Give),
            ["finish"] => Some(Self::Finish),
            ["count"] => Some(Self::Count),
            ["resumed", pid] => number(pid).map(Self::Resumed),
            ["connection" | "keep" | "give" | "finish" | "count" | "move" | "resumed", ..] => None,
            _ => return None,
        })
    }

    /// A path may have spaces, and letters of all languages.
    fn parse_move(rest: &[u8]) -> Option<Self> {
        let (share, path) = str::from_utf8(rest).ok()?.split_once(' ')?;
        let (part, whole) = share.split_once('/')?;
        let share = Fraction::new(number(part)?, number(whole)?)?;
        let whole_path = !path.is_empty() && !path.contains(char::is_control);
        whole_path.then(|| Self::Move { share, path: path.to_owned() })
    }

    /// The packet that says it, with the state that follows.
    pub fn packet(&self, state: Option<&[u8]>) -> Vec<u8> {
        joined(self.to_string(), state)
    }
}

/// Whether a state follows a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stated {
    Never,
    IfGivenBack,
    Always,
}

impl Stated {
    fn check<'p>(self, words: &[u8], state: Option<&'p [u8]>) -> Result<Option<&'p [u8]>, Malformed> {
        let is_right = match state {
            None => self != Self::Always,
            Some(state) => self != Self::Never && state.len() <= STATE_BYTES_MAX,
        };
        if is_right { Ok(state) } else { Err(Malformed::State { words: quoted(words), bytes: state.map(<[u8]>::len) }) }
    }
}

/// A packet's words, and the state after the newline.
fn parted(packet: &[u8]) -> (&[u8], Option<&[u8]>) {
    match packet.iter().position(|byte| *byte == b'\n') {
        Some(newline) => (&packet[..newline], Some(&packet[newline + 1..])),
        None => (packet, None),
    }
}

fn joined(words: String, state: Option<&[u8]>) -> Vec<u8> {
    let mut packet = words.into_bytes();
    if let Some(state) = state {
        packet.reserve_exact(1 + state.len());
        packet.push(b'\n');
        packet.extend_from_slice(state);
    }
    packet
}

fn split(words: &[u8]) -> Result<Vec<&str>, Malformed> {
    let text = str::from_utf8(words).ok().filter(|text| text.is_ascii() && words.len() <= WORDS_BYTES_MAX);
    let all: Vec<&str> = text.ok_or_else(|| Malformed::new(words))?.split(' ').collect();
    if all.iter().any(|word| word.is_empty() || word.contains(|letter: char| letter.is_ascii_control())) {
        return Err(Malformed::new(words));
    }
    Ok(all)
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
        for (said, state, packet) in [
            (FromWorker::Ready { version: VERSION }, None, &b"ready 2"[..]),
            (FromWorker::Want(NonZeroU32::MAX), None, b"want 4294967295"),
            (FromWorker::Took(id), None, b"took 2"),
            (FromWorker::Done(id), None, b"done 2"),
            (FromWorker::Back(id), Some(&b""[..]), b"back 2\n"),
            (FromWorker::Back(id), Some(b"\n\xff\0 done 2"), b"back 2\n\n\xff\0 done 2"),
            (FromWorker::Holds(0), None, b"holds 0"),
            (FromWorker::Moved(17), None, b"moved 17"),
            (FromWorker::Standby(7002), None, b"standby 7002"),
            (FromWorker::Has(id), None, b"has 2"),
            (FromWorker::Survived, None, b"survived"),
        ] {
            assert_eq!(said.packet(state), packet);
            assert_eq!(FromWorker::parse(packet), Ok((said, state)));
        }
    }

    #[test]
    fn what_the_supervisor_says_is_written_as_the_page_has_it() {
        let id = ConnectionId::FIRST;
        let (peer, local) = ("192.0.2.7:50120".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
        let connection = FromSupervisor::Connection { id, peer, local };
        let third = Fraction::new(1, NonZeroU32::new(3).unwrap()).unwrap();
        let path = "/tmp/two words/\u{e9}.takeover".to_owned();
        for (said, state, packet) in [
            (connection.clone(), None, &b"connection 1 192.0.2.7:50120 [2001:db8::1]:80"[..]),
            (connection, Some(&b"half a li"[..]), b"connection 1 192.0.2.7:50120 [2001:db8::1]:80\nhalf a li"),
            (FromSupervisor::Keep(id), Some(b""), b"keep 1\n"),
            (FromSupervisor::Give(NonZeroU32::MIN), None, b"give 1"),
            (FromSupervisor::Finish, None, b"finish"),
            (FromSupervisor::Count, None, b"count"),
            (FromSupervisor::Move { share: third, path }, None, b"move 1/3 /tmp/two words/\xc3\xa9.takeover"),
            (FromSupervisor::Resumed(NonZeroU32::MIN), None, b"resumed 1"),
        ] {
            assert_eq!(said.packet(state), packet);
            assert_eq!(FromSupervisor::parse(packet), Ok(Some((said, state))));
        }
    }

    #[test]
    fn the_longest_message_fits_into_a_packet() {
        let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let id = ConnectionId(NonZeroU64::MAX);
        let longest = FromSupervisor::Connection { id, peer: address, local: address };
        assert!(longest.to_string().len() <= WORDS_BYTES_MAX, "{longest}");
        let share = Fraction::new(u32::MAX, NonZeroU32::MAX).unwrap();
        let path = "x".repeat(crate::SOCKET_PATH_BYTES_MAX);
        let longest = FromSupervisor::Move { share, path };
        assert!(longest.to_string().len() <= WORDS_BYTES_MAX, "{longest}");
    }

    #[test]
    fn a_state_may_be_as_long_as_is_allowed_and_no_byte_longer() {
        let mut packet = FromWorker::Back(ConnectionId::FIRST).packet(Some(&[b'x'; STATE_BYTES_MAX]));
        assert!(FromWorker::parse(&packet).is_ok_and(|(_, state)| state.is_some_and(|state| state.len() == 65_536)));
        packet.push(b'x');
        let error = FromWorker::parse(&packet).unwrap_err().to_string();
        assert_eq!(error, "a state of 65537 bytes or more follows \"back 1\", 65536 are allowed");
    }

    #[test]
    fn a_state_follows_no_word_but_those_of_a_connection_that_is_given_back() {
        for (packet, said) in [
            (&b"took 1\n"[..], "a state of 0 bytes follows \"took 1\", where none may"),
            (b"want 1\nxy", "a state of 2 bytes follows \"want 1\", where none may"),
            (b"back 1", "no state follows \"back 1\""),
        ] {
            assert_eq!(FromWorker::parse(packet).unwrap_err().to_string(), said);
        }
        for packet in [&b"keep 1"[..], b"finish\n", b"give 1\n", b"count\nx", b"move 1/2 /x\ny"] {
            assert!(FromSupervisor::parse(packet).is_err(), "{}", packet.escape_ascii());
        }
    }

    #[test]
    fn a_part_is_rounded_to_the_nearest() {
        let part = |part, whole, count| Fraction::new(part, NonZeroU32::new(whole).unwrap()).unwrap().of(count);
        assert_eq!([part(1, 3, 10), part(1, 3, 11), part(1, 2, 1), part(0, 7, 100)], [3, 4, 1, 0]);
        assert_eq!(Fraction::all().of(u64::MAX), u64::MAX);
        assert_eq!(Fraction::new(2, NonZeroU32::MIN), None);
    }

    #[test]
    fn a_worker_may_not_say_anything_else() {
        let long = format!("took {}", "1".repeat(WORDS_BYTES_MAX));
        for packet in [
            "",
            " ",
            "\n",
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
            "back 0\n",
            "back\n1",
            "back 1 \n",
            "holds",
            "holds -1",
            "moved 4294967296",
            "moved 1 of 2",
            "standby",
            "standby -1",
            "standby 2147483648",
            "has 0",
            "survived 1",
            "leave",
            "want \u{661}",
            &long,
        ] {
            assert!(FromWorker::parse(packet.as_bytes()).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_worker_passes_over_words_of_a_later_version_and_stops_at_known_ones_that_are_wrong() {
        for packet in ["drain 5", "finished", "x", "x 1\nwith a state"] {
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
            "give",
            "give 0",
            "count 1",
            "move",
            "move 1/2",
            "move 1/2 ",
            "move 1/0 /x",
            "move 2/1 /x",
            "move 1/02 /x",
            "move 1 /x",
            "move 1/2 /x\0",
            "resumed",
            "resumed 0",
        ] {
            assert!(FromSupervisor::parse(packet.as_bytes()).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_packet_is_quoted_so_that_it_cannot_forge_a_line_of_the_log_or_fill_it() {
        let error = FromWorker::parse(b"x\x07\x1b[31m\xff\nmore").unwrap_err();
        assert_eq!(error.to_string(), r#"the packet "x\x07\x1b[31m\xff" is not understood"#);
        let error = FromWorker::parse(&[b'x'; PACKET_BYTES_MAX]).unwrap_err();
        assert!(error.to_string().len() < 2 * WORDS_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn whatever_is_understood_is_written_the_same_again(
            words in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "(ready|want|took|done|back|holds|moved|standby|has|survived|connection|keep|give|finish|count|resumed)( [0-9]{1,21}| \\[?[0-9a-f.:]{1,12}\\]?:[0-9]{1,5}){0,4}"
                    .prop_map(String::into_bytes),
                "move [0-9]{1,11}/[0-9]{1,11} [a-z/ \u{e9}]{0,110}".prop_map(String::into_bytes),
            ],
            state in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        ) {
            let packet = joined(String::from_utf8_lossy(&words).into_owned(), state.as_deref());
            for packet in [words, packet] {
                if let Ok((said, state)) = FromWorker::parse(&packet) {
                    prop_assert_eq!(said.packet(state), packet.clone());
                }
                if let Ok(Some((said, state))) = FromSupervisor::parse(&packet) {
                    // An address may be written in several ways.
                    let again = said.packet(state);
                    prop_assert_eq!(FromSupervisor::parse(&again), Ok(Some((said.clone(), state))));
                    let has_address = matches!(said, FromSupervisor::Connection { .. });
                    prop_assert!(has_address || again == packet);
                }
            }
        }

        #[test]
        fn a_part_is_never_more_than_all_and_two_halves_are_one_too_many_at_most(
            part in any::<u32>(), whole in 1..=u32::MAX, count in any::<u64>(),
        ) {
            let whole = NonZeroU32::new(whole).expect("it is at least one");
            if let Some(fraction) = Fraction::new(part, whole) {
                let rest = Fraction::new(whole.get() - part, whole).expect("it is what is left");
                let (some, others) = (fraction.of(count), rest.of(count));
                prop_assert!(some <= count);
                let sum = u128::from(some) + u128::from(others);
                prop_assert!((u128::from(count)..=u128::from(count) + 1).contains(&sum));
            }
        }
    }
}
