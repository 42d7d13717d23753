//! The name that a client asks for when it begins TLS: the server name in its ClientHello, without any more of TLS.
//!
//! Nothing is terminated here, so every version and every cipher passes, also those that no library for TLS would answer; that is
//! why none is used for this. What is not well-formed as far as it is looked at is refused.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// The longest message that is heard out. Usual ones have 300 to 2,000 bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The most that is looked at, with the heads of the records.
pub const BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4 * 1024;

/// The longest record (RFC 8446, section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

const RECORD_HEAD_BYTES: usize = 5;
const MESSAGE_HEAD_BYTES: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A ClientHello that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that is asked for, in lower case, if one is.
    pub server_name: Option<String>,
}

/// Why bytes are no ClientHello, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHello {
    /// They begin otherwise than TLS does.
    NotTls,
    /// A record is empty, or has more bytes than one may have, this many.
    Record(usize),
    /// The message has more bytes than are heard out, this many.
    TooLong(usize),
    /// It comes in so many small records that these have more bytes than are looked at.
    TooManyRecords,
    /// Something in the message does not end where it says, or is there twice.
    Malformed(&'static str),
}

/// Reads the ClientHello that `input` begins with. `None` is that it is not whole yet.
///
/// # Errors
/// If it is none, and cannot become one.
pub fn read(input: &[u8]) -> Result<Option<ClientHello>, NoHello> {
    let looked_at = &input[..input.len().min(BYTES_MAX)];
    let Some(message) = message(looked_at)? else {
        return if looked_at.len() < BYTES_MAX { Ok(None) } else { Err(NoHello::TooManyRecords) };
    };
    let server_name = server_name(&mut Bytes(&message))?;
    Ok(Some(ClientHello { server_name }))
}

/// The message, out of as many records as it takes; without its head.
fn message(input: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NoHello> {
    let (mut rest, mut gathered) = (input, Cow::Borrowed(&[][..]));
    loop {
        if let Some(&[kind, a, b, c, ..]) = gathered.first_chunk::<MESSAGE_HEAD_BYTES>() {
            let bytes = u32::from_be_bytes([0, a, b, c]) as usize;
            match (kind, MESSAGE_HEAD_BYTES + bytes) {
                (CLIENT_HELLO, all) if all <= gathered.len() => return Ok(Some(cut(gathered, all))),
                (CLIENT_HELLO, _) if bytes > MESSAGE_BYTES_MAX => return Err(NoHello::TooLong(bytes)),
                (CLIENT_HELLO, _) => {}
                _ => return Err(NoHello::NotTls),
            }
        }
        let Some(fragment) = record(rest)? else { return Ok(None) };
        rest = &rest[RECORD_HEAD_BYTES + fragment.len()..];
        if gathered.is_empty() {
            gathered = Cow::Borrowed(fragment)
        } else {
            gathered.to_mut().extend_from_slice(fragment)
        }
    }
}

fn cut(message: Cow<'_, [u8]>, all: usize) -> Cow<'_, [u8]> {
    match message {
        Cow::Borrowed(message) => Cow::Borrowed(&message[MESSAGE_HEAD_BYTES..all]),
        Cow::Owned(message) => Cow::Owned(message[MESSAGE_HEAD_BYTES..all].to_vec()),
    }
}

/// What the first record carries. `None` is that it is not whole yet.
fn record(input: &[u8]) -> Result<Option<&[u8]>, NoHello> {
    if input.first().is_some_and(|kind| *kind != HANDSHAKE) || input.get(1).is_some_and(|major| *major != 3) {
        return Err(NoHello::NotTls);
    }
    let Some((&[.., high, low], rest)) = input.split_first_chunk::<RECORD_HEAD_BYTES>() else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        bytes if bytes == 0 || bytes > RECORD_BYTES_MAX => Err(NoHello::Record(bytes)),
        bytes => Ok(rest.get(..bytes)),
    }
}

/// Bytes that are taken from the front, as far as there are any.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], NoHello> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NoHello::Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self, what: &'static str) -> Result<usize, NoHello> {
        let bytes = self.take(BYTES, what)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What has its length before it, in so many bytes.
    fn vector<const BYTES: usize>(&mut self, what: &'static str) -> Result<Bytes<'a>, NoHello> {
        let length = self.number::<BYTES>(what)?;
        self.take(length, what).map(Bytes)
    }
}

fn server_name(hello: &mut Bytes<'_>) -> Result<Option<String>, NoHello> {
    hello.take(2 + 32, "version or random")?;
    hello.vector::<1>("session id")?;
    hello.vector::<2>("cipher suites")?;
    hello.vector::<1>("compression methods")?;
    if hello.0.is_empty() {
        // Extensions are newer than TLS 1.0.
        return Ok(None);
    }
    let mut extensions = hello.vector::<2>("extensions")?;
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number::<2>("extension")?;
        let mut extension = extensions.vector::<2>("extension")?;
        if kind == usize::from(SERVER_NAME) && name.replace(host_name(&mut extension)?).is_some() {
            return Err(NoHello::Malformed("second server name"));
        }
    }
    if hello.0.is_empty() { Ok(name) } else { Err(NoHello::Malformed("end")) }
}

/// The one name of the extension (RFC 6066, section 3). No other kind of name was ever defined.
fn host_name(extension: &mut Bytes<'_>) -> Result<String, NoHello> {
    const WHAT: &str = "server name";
    let mut names = extension.vector::<2>(WHAT)?;
    let kind = names.number::<1>(WHAT)?;
    let name = names.vector::<2>(WHAT)?.0;
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    let whole = kind == usize::from(HOST_NAME) && names.0.is_empty() && extension.0.is_empty();
    if !whole || !plain || name.is_empty() || name.len() > 255 {
        return Err(NoHello::Malformed(WHAT));
    }
    let text = str::from_utf8(name).expect("it is ASCII");
    Ok(text.to_ascii_lowercase())
}

impl fmt::Display for NoHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no ClientHello: ")?;
        match self {
            Self::NotTls => f.write_str("it does not begin as TLS does"),
            Self::Record(bytes) => write!(f, "a record of {bytes} bytes; one has from 1 to {RECORD_BYTES_MAX}"),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes; at most {MESSAGE_BYTES_MAX} are heard out"),
            Self::TooManyRecords => write!(f, "its records have more than {BYTES_MAX} bytes"),
            Self::Malformed(what) => write!(f, "its {what} is malformed"),
        }
    }
}

impl Error for NoHello {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(length_bytes: usize, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
        [&length[4 - length_bytes..], body].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, body)].concat()
    }

    fn named(name: &str) -> Vec<u8> {
        extension(SERVER_NAME, &vector(2, &[vec![HOST_NAME], vector(2, name.as_bytes())].concat()))
    }

    fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
        let head = [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &vector(2, &[0x13, 1]), &vector(1, &[0])].concat();
        if extensions.is_empty() { head } else { [head, vector(2, &extensions.concat())].concat() }
    }

    fn message_of(body: &[u8]) -> Vec<u8> {
        [vec![CLIENT_HELLO], vector(3, body)].concat()
    }

    /// A message in records of so many bytes.
    fn records(message: &[u8], bytes: usize) -> Vec<u8> {
        let record = |fragment: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector(2, fragment)].concat();
        message.chunks(bytes).flat_map(record).collect()
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        records(&message_of(&body(extensions)), RECORD_BYTES_MAX)
    }

    fn name(server_name: &str) -> ClientHello {
        ClientHello { server_name: Some(server_name.to_owned()) }
    }

    #[test]
    fn name_is_found_among_other_extensions_and_without_one_there_is_none() {
        let (before, after) = (extension(0x0a, &[1, 2, 3]), extension(0x2b, &[]));
        assert_eq!(read(&hello(&[before.clone(), named("API.example.org"), after])), Ok(Some(name("api.example.org"))));
        assert_eq!(read(&hello(&[before])), Ok(Some(ClientHello { server_name: None })));
        assert_eq!(read(&hello(&[])), Ok(Some(ClientHello { server_name: None })));
    }

    #[test]
    fn hello_is_the_same_in_one_record_or_in_many_and_never_wrong_before_it_is_whole() {
        let padding = extension(0x15, &[0; 3000]);
        let message = message_of(&body(&[padding, named("a.example.org")]));
        for bytes in [7, 100, 1000, message.len()] {
            let records = records(&message, bytes);
            assert_eq!(read(&records), Ok(Some(name("a.example.org"))), "{bytes}");
            for end in (0..records.len()).step_by(13).chain([records.len() - 1]) {
                assert_eq!(read(&records[..end]), Ok(None), "{end} of {bytes}");
            }
        }
    }

    #[test]
    fn hello_of_16_kib_is_heard_out_and_no_longer_one() {
        let longest = |bytes: usize| {
            let around = body(&[extension(0x15, &[]), named("a")]).len();
            message_of(&body(&[extension(0x15, &vec![0; bytes - around]), named("a")]))
        };
        for bytes in [1000, RECORD_BYTES_MAX] {
            assert_eq!(read(&records(&longest(MESSAGE_BYTES_MAX), bytes)), Ok(Some(name("a"))));
            let too_long = records(&longest(MESSAGE_BYTES_MAX + 1), bytes);
            assert_eq!(
                read(&too_long[..1005]),
                if bytes == 1000 { Err(NoHello::TooLong(MESSAGE_BYTES_MAX + 1)) } else { Ok(None) }
            );
            assert_eq!(read(&too_long), Err(NoHello::TooLong(MESSAGE_BYTES_MAX + 1)));
        }
        let small = records(&longest(MESSAGE_BYTES_MAX), 1);
        assert_eq!(read(&small[..BYTES_MAX - 1]), Ok(None));
        assert_eq!(read(&small), Err(NoHello::TooManyRecords));
    }

    #[test]
    fn what_is_no_tls_is_told_by_its_first_bytes() {
        for other in [&b"GET / HTTP/1.1"[..], b"\x15\x03\x01", b"\x16\x02", b"\x80\x2e\x01", b"PROXY "] {
            assert_eq!(read(other), Err(NoHello::NotTls), "{other:?}");
        }
        assert_eq!(read(&records(&[2, 0, 0, 1, 0], 10)), Err(NoHello::NotTls), "a ServerHello");
        assert_eq!(read(&[22, 3, 1, 0, 0]), Err(NoHello::Record(0)));
        assert_eq!(read(&[22, 3, 1, 0x40, 1]), Err(NoHello::Record(16385)));
        assert_eq!(read(&[22, 3]), Ok(None));
    }

    #[test]
    fn malformed_hello_is_refused_and_says_where() {
        let good = body(&[named("a")]);
        let cases = [
            (good[..30].to_vec(), "version or random"),
            (good[..60].to_vec(), "session id"),
            ([&good[..], &[0]].concat(), "end"),
            (body(&[vec![0, 10, 0]]), "extension"),
            (body(&[named("a"), named("b")]), "second server name"),
            (body(&[extension(SERVER_NAME, &[])]), "server name"),
            (body(&[extension(SERVER_NAME, &[0, 0])]), "server name"),
            (body(&[extension(SERVER_NAME, &[0, 4, 1, 0, 1, b'a'])]), "server name"),
            (body(&[extension(SERVER_NAME, &[0, 4, 0, 0, 1, b'a', 0])]), "server name"),
            (body(&[named("")]), "server name"),
            (body(&[named("a b")]), "server name"),
            (body(&[named("a\"\n")]), "server name"),
            (body(&[named(&"a".repeat(256))]), "server name"),
        ];
        for (body, what) in cases {
            assert_eq!(read(&records(&message_of(&body), 5000)), Err(NoHello::Malformed(what)));
        }
    }

    proptest! {
        #[test]
        fn what_follows_changes_nothing_once_it_is_whole_or_wrong(
            changed in any::<prop::sample::Index>(), to in any::<u8>(), bytes in 1_usize..300, cut in any::<prop::sample::Index>(),
        ) {
            let mut input = records(&message_of(&body(&[named("a.example.org"), extension(0x15, &[0; 20])])), bytes);
            let at = changed.index(input.len());
            input[at] = to;
            crate::fuzzing::client_hello(&input);
            crate::fuzzing::client_hello(&input[..cut.index(input.len())]);
        }
    }
}
