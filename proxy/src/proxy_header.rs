//! The header of the PROXY protocol, in both versions, in and out: whose connection it is that a proxy passes on.
//!
//! The specification is HAProxy's (`doc/proxy-protocol.txt`). Extensions of version 2 are passed over. The crates for it either
//! bring more than they save, or take a beginning that can still become a header for a broken one.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reactord::tls::{Facts, Version};

use crate::config::ProxyVersion;

/// What begins version 2, and no text.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What begins version 1.
const WORD: &[u8] = b"PROXY ";

/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;

/// The signature, the command, the family, and the length of what follows.
const FIXED_BYTES: usize = 16;

/// What an extension is about, and within the one about TLS.
mod kind {
    pub(super) const ALPN: u8 = 0x01;
    pub(super) const AUTHORITY: u8 = 0x02;
    pub(super) const SSL: u8 = 0x20;
    pub(super) const SSL_VERSION: u8 = 0x21;
    pub(super) const SSL_COMMON_NAME: u8 = 0x22;
    pub(super) const SSL_CIPHER: u8 = 0x23;
}

/// The client came by TLS; it has shown a certificate, in this connection, or in one that this one resumes.
const CLIENT_SSL: u8 = 1;
const CLIENT_CERTIFICATE: u8 = 2;
const CLIENT_CERTIFICATE_EARLIER: u8 = 4;

/// A common name that is longer is cut: protocols and names that are asked for are not longer either.
const NAME_BYTES_MAX: usize = 255;

/// The longest header of version 2 that is heard out. Addresses take 36 bytes, and extensions some hundred.
pub const BYTES_MAX: usize = 4096;

/// A header that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it took.
    pub bytes: usize,
    /// Whose connection it is. `None` if that is not said: the sender asks something for itself, or does not know, or it
    /// came by something else than TCP.
    pub addresses: Option<Addresses>,
}

/// The ends of the connection that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Who connected.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

/// What a header that is written says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Whose connection it is that is passed on.
    Addresses(Addresses),
    /// That one is passed on which has no addresses, as one that came by a Unix socket.
    Unknown,
    /// That none is passed on: the proxy asks for itself whether the server is up.
    Own,
}

/// Why bytes are no header, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// They begin as neither version does.
    Beginning,
    /// The line of version 1 does not end where it has to.
    TooLong,
    /// It has other words than it may have.
    Line,
    /// The version or command of version 2 is unknown.
    Command(u8),
    /// Version 2 announces more bytes than are heard out, this many.
    Announced(usize),
    /// Version 2 announces fewer bytes than the addresses of its family take.
    Addresses(usize),
}

/// Reads the header that `input` begins with. `None` is that it is not whole yet.
///
/// # Errors
/// If it is none, and cannot become one.
pub fn read(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(input, &SIGNATURE) {
        return read_binary(input);
    }
    if begins(input, WORD) { read_line(input) } else { Err(NoHeader::Beginning) }
}

/// Whether the input begins so, or can, since it is not longer.
fn begins(input: &[u8], with: &[u8]) -> bool {
    let common = input.len().min(with.len());
    input[..common] == with[..common]
}

fn read_line(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    let end = input.iter().take(LINE_BYTES_MAX).position(|byte| b"\r\n".contains(byte));
    let Some(end) = end else {
        return if input.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NoHeader::TooLong) };
    };
    match (input[end], input.get(end + 1)) {
        (b'\r', _) if end + 2 > LINE_BYTES_MAX => Err(NoHeader::TooLong),
        (b'\r', None) => Ok(None),
        (b'\r', Some(b'\n')) => {
            let line = str::from_utf8(&input[WORD.len()..end]).map_err(|_| NoHeader::Line)?;
            Ok(Some(Header { bytes: end + 2, addresses: words(line).ok_or(NoHeader::Line)? }))
        }
        _ => Err(NoHeader::Line),
    }
}

/// What follows the first word of a line. The inner `None` is that it is said that nothing is known.
fn words(line: &str) -> Option<Option<Addresses>> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["UNKNOWN", ..] => Some(None),
        ["TCP4", source, destination, ports @ ..] => ends::<Ipv4Addr>(source, destination, ports).map(Some),
        ["TCP6", source, destination, ports @ ..] => ends::<Ipv6Addr>(source, destination, ports).map(Some),
        _ => None,
    }
}

fn ends<A: std::str::FromStr + Into<IpAddr>>(source: &str, destination: &str, ports: &[&str]) -> Option<Addresses> {
    let [source_port, destination_port] = ports else { return None };
    let end = |address: &str, port| Some(SocketAddr::new(address.parse::<A>().ok()?.into(), number(port)?));
    Some(Addresses { source: end(source, source_port)?, destination: end(destination, destination_port)? })
}

/// A port, without zeros or a sign in front.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn read_binary(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    // The command is looked at as soon as it is there, so that nobody is waited for in vain.
    let command = input.get(SIGNATURE.len()).copied();
    if let Some(unknown) = command.filter(|command| ![0x20, 0x21].contains(command)) {
        return Err(NoHeader::Command(unknown));
    }
    let Some(&[.., family, high, low]) = input.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let bytes = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > BYTES_MAX {
        return Err(NoHeader::Announced(bytes));
    }
    let Some(body) = input.get(FIXED_BYTES..bytes) else { return Ok(None) };
    // Who asks for itself has no addresses that count.
    let family = if command == Some(0x21) { family } else { 0 };
    Ok(Some(Header { bytes, addresses: binary_addresses(family, body)? }))
}

fn binary_addresses(family: u8, body: &[u8]) -> Result<Option<Addresses>, NoHeader> {
    let too_few = NoHeader::Addresses(body.len());
    match family {
        0x11 => body.first_chunk().map(four).ok_or(too_few).map(Some),
        0x21 => body.first_chunk().map(six).ok_or(too_few).map(Some),
        // Datagrams and Unix sockets have no such addresses, and what is not known yet has none that are understood.
        _ => Ok(None),
    }
}

fn four(bytes: &[u8; 12]) -> Addresses {
    let [a, b, c, d, e, f, g, h, ports @ ..] = *bytes;
    Addresses::of([a, b, c, d].into(), [e, f, g, h].into(), ports)
}

fn six(bytes: &[u8; 36]) -> Addresses {
    let (source, rest) = bytes.split_first_chunk::<16>().expect("36 are more than 16");
    let (destination, ports) = rest.split_first_chunk::<16>().expect("20 are more than 16");
    let ports = ports.try_into().expect("36 are 16 and 16 and 4");
    Addresses::of((*source).into(), (*destination).into(), ports)
}

impl Addresses {
    fn of(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Self {
        let source = SocketAddr::new(source, u16::from_be_bytes([a, b]));
        Self { source, destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])) }
    }

    /// Both addresses in one family: in IPv4 if they can be, as those of a listener of both are.
    fn in_one_family(self) -> (IpAddr, IpAddr) {
        let six = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        match (self.source.ip().to_canonical(), self.destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (source.into(), destination.into()),
            (source, destination) => (six(source).into(), six(destination).into()),
        }
    }
}

/// The header of this version that says this, to be sent before anything else; with what is known of the client's TLS, where the
/// version has room for it.
#[must_use]
pub fn write(version: ProxyVersion, says: &Says, tls: Option<&Facts>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => line(says).into_bytes(),
        ProxyVersion::V2 => binary(says, &[]),
        ProxyVersion::V2Ssl if *says == Says::Own => binary(says, &[]),
        ProxyVersion::V2Ssl => binary(says, &extensions(tls)),
    }
}

fn line(says: &Says) -> String {
    let Says::Addresses(addresses) = says else { return "PROXY UNKNOWN\r\n".to_owned() };
    let (source, destination) = addresses.in_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // An IPv4 address within one of IPv6 is written in hexadecimal, which every reader knows.
    let plain = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    };
    let (from, to) = (addresses.source.port(), addresses.destination.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", plain(source), plain(destination))
}

fn binary(says: &Says, extensions: &[u8]) -> Vec<u8> {
    let (command, family, body) = match says {
        Says::Own => (0x20, 0, Vec::new()),
        Says::Unknown => (0x21, 0, Vec::new()),
        Says::Addresses(addresses) => {
            let (source, destination) = addresses.in_one_family();
            let ports = [addresses.source.port(), addresses.destination.port()].map(u16::to_be_bytes).concat();
            let family = if source.is_ipv4() { 0x11 } else { 0x21 };
            (0x21, family, [octets(source), octets(destination), ports].concat())
        }
    };
    let length = u16::try_from(body.len() + extensions.len()).expect("names are short, and so are addresses");
    [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), &body, extensions].concat()
}

/// What HAProxy's `send-proxy-v2-ssl-cn` says, with the suite, the protocol that is spoken inside and the name that was asked for.
fn extensions(tls: Option<&Facts>) -> Vec<u8> {
    let Some(facts) = tls else { return extension(kind::SSL, &ssl(0, false)) };
    let alpn = facts.alpn.as_deref().map(|alpn| extension(kind::ALPN, alpn));
    let name = facts.server_name.as_deref().map(|name| extension(kind::AUTHORITY, name.as_bytes()));
    let certificate = match (facts.certificates.is_empty(), facts.resumed) {
        (true, _) => 0,
        (false, false) => CLIENT_CERTIFICATE | CLIENT_CERTIFICATE_EARLIER,
        (false, true) => CLIENT_CERTIFICATE_EARLIER,
    };
    let mut about = ssl(CLIENT_SSL | certificate, certificate != 0);
    about.extend(extension(kind::SSL_VERSION, protocol(facts.version()).as_bytes()));
    if let Some(name) = facts.common_name() {
        about.extend(extension(kind::SSL_COMMON_NAME, &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)]));
    }
    about.extend(extension(kind::SSL_CIPHER, facts.suite.name().as_bytes()));
    [alpn.unwrap_or_default(), name.unwrap_or_default(), extension(kind::SSL, &about)].concat()
}

/// What is said of a client's TLS first: 0 in the number is that its certificate was verified.
fn ssl(client: u8, is_verified: bool) -> Vec<u8> {
    [&[client][..], &u32::from(!is_verified).to_be_bytes()].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("names are short");
    [&[kind][..], &length.to_be_bytes(), value].concat()
}

/// A version of TLS as OpenSSL, and so HAProxy and nginx, call it.
#[must_use]
pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::Tls12 => "TLSv1.2",
        Version::Tls13 => "TLSv1.3",
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no header of the PROXY protocol: ")?;
        match self {
            Self::Beginning => f.write_str("it begins otherwise"),
            Self::TooLong => write!(f, "a line of version 1 has at most {LINE_BYTES_MAX} bytes"),
            Self::Line => f.write_str("the line of version 1 says something else"),
            Self::Command(command) => write!(f, "version and command {command:#04x} are unknown"),
            Self::Announced(bytes) => write!(f, "{bytes} bytes are announced, and at most {BYTES_MAX} are heard out"),
            Self::Addresses(bytes) => write!(f, "{bytes} bytes are announced, which are fewer than its addresses take"),
        }
    }
}

impl Error for NoHeader {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(source: &str, destination: &str) -> Addresses {
        let address = |text: &str| text.parse().expect("it is an address");
        Addresses { source: address(source), destination: address(destination) }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("it is short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn line_says_both_ends_or_that_nothing_is_known() {
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        let cases = [
            ("PROXY TCP4 10.1.2.3 10.0.0.7 56324 443\r\n", Some(addresses("10.1.2.3:56324", "10.0.0.7:443"))),
            ("PROXY TCP6 fd00::1 ::1 0 65535\r\n", Some(addresses("[fd00::1]:0", "[::1]:65535"))),
            ("PROXY UNKNOWN\r\n", None),
            (longest, None),
        ];
        for (line, addresses) in cases {
            let header = Header { bytes: line.len(), addresses };
            assert_eq!(read(format!("{line}GET / HTTP/1.1\r\n").as_bytes()), Ok(Some(header)), "{line}");
        }
    }

    #[test]
    fn line_that_is_almost_right_is_wrong() {
        for line in [
            "PROXY TCP4 10.1.2.3 10.0.0.7 056324 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.7 +5 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.7 56324 65536\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.7 56324\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.7 56324 443 \r\n",
            "PROXY TCP4  10.1.2.3 10.0.0.7 56324 443\r\n",
            "PROXY TCP4 fd00::1 ::1 56324 443\r\n",
            "PROXY TCP6 10.1.2.3 10.0.0.7 56324 443\r\n",
            "PROXY UDP4 10.1.2.3 10.0.0.7 56324 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.7 56324 443\n",
            "PROXY UNKNOWN\rx",
            "PROXY \r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(NoHeader::Line), "{line}");
        }
        assert_eq!(read(b"PROXY \xff\r\n"), Err(NoHeader::Line));
        let line = |bytes: usize| [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; bytes - 14]].concat();
        assert_eq!(read(&line(106)), Ok(None));
        assert_eq!(read(&line(107)), Err(NoHeader::TooLong));
        assert_eq!(read(&[line(106), b"\r\n".to_vec()].concat()), Err(NoHeader::TooLong));
    }

    #[test]
    fn binary_header_says_both_ends_and_its_extensions_are_passed_over() {
        let ends = [&[10, 1, 2, 3, 10, 0, 0, 7, 0xdc, 0x04, 1, 187][..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let said = v2(0x21, 0x11, &ends);
        let header = Header { bytes: said.len(), addresses: Some(addresses("10.1.2.3:56324", "10.0.0.7:443")) };
        assert_eq!(read(&[said.clone(), b"hello".to_vec()].concat()), Ok(Some(header)));
        for (command, family) in [(0x20, 0x11), (0x21, 0), (0x21, 0x12), (0x21, 0x31), (0x21, 0xff)] {
            let header = Header { bytes: said.len(), addresses: None };
            assert_eq!(read(&v2(command, family, &ends)), Ok(Some(header)), "{command:#x} {family:#x}");
        }
    }

    #[test]
    fn binary_header_that_is_wrong_is_known_as_soon_as_it_is() {
        assert_eq!(read(&v2(0x21, 0x11, &[0; 11])), Err(NoHeader::Addresses(11)));
        assert_eq!(read(&v2(0x21, 0x21, &[0; 35])), Err(NoHeader::Addresses(35)));
        assert_eq!(read(&v2(0x11, 0, &[])[..13]), Err(NoHeader::Command(0x11)));
        assert_eq!(read(&v2(0x22, 0, &[])[..13]), Err(NoHeader::Command(0x22)));
        let announced = v2(0x21, 0x11, &[0; BYTES_MAX]);
        assert_eq!(read(&announced[..16]), Err(NoHeader::Announced(BYTES_MAX + 16)));
        assert_eq!(read(&v2(0x21, 0x11, &[0; BYTES_MAX - 16])[..16]), Ok(None));
    }

    #[test]
    fn what_is_known_of_tls_is_said_in_extensions_that_every_reader_can_pass_over() {
        let ends = Says::Addresses(addresses("10.1.2.3:5", "10.0.0.7:6"));
        let plain = write(ProxyVersion::V2Ssl, &ends, None);
        assert_eq!(plain[28..], [kind::SSL, 0, 5, 0, 0, 0, 0, 1]);
        let facts = Facts {
            suite: reactord::tls::Suite::Tls13Aes128GcmSha256,
            resumed: false,
            alpn: Some(b"h2".to_vec()),
            server_name: Some("a.example".to_owned()),
            certificates: vec![b"one that cannot be read has no name".to_vec()],
        };
        let written = write(ProxyVersion::V2Ssl, &ends, Some(&facts));
        let ssl = [&[7, 0, 0, 0, 0, 0x21, 0, 7][..], b"TLSv1.3", &[0x23, 0, 22], b"TLS_AES_128_GCM_SHA256"].concat();
        let expected = [&[1, 0, 2][..], b"h2", &[2, 0, 9], b"a.example", &[0x20, 0, 40], &ssl].concat();
        assert_eq!(written[28..], expected);
        let header = Header { bytes: written.len(), addresses: Some(addresses("10.1.2.3:5", "10.0.0.7:6")) };
        assert_eq!(read(&written), Ok(Some(header)));
        assert_eq!(write(ProxyVersion::V2Ssl, &Says::Own, Some(&facts)), v2(0x20, 0, &[]));
        assert_eq!(write(ProxyVersion::V2, &ends, Some(&facts)).len(), 28);
    }

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        for other in [&b"GET / HTTP/1.1"[..], b"\x16\x03\x01", b"PROXX", b"P\r", b"\r\n\r\n\r", b"SSH-2.0-"] {
            assert_eq!(read(other), Err(NoHeader::Beginning), "{other:?}");
        }
        assert_eq!(read(b""), Ok(None));
    }

    #[test]
    fn addresses_of_a_listener_of_both_families_are_written_as_ipv4() {
        let mapped = Says::Addresses(addresses("[::ffff:10.1.2.3]:5", "[::ffff:10.0.0.7]:6"));
        assert_eq!(write(ProxyVersion::V1, &mapped, None), b"PROXY TCP4 10.1.2.3 10.0.0.7 5 6\r\n");
        let mixed = Says::Addresses(addresses("10.1.2.3:5", "[fd00::7]:6"));
        assert_eq!(
            write(ProxyVersion::V1, &mixed, None),
            b"PROXY TCP6 0:0:0:0:0:ffff:a01:203 fd00:0:0:0:0:0:0:7 5 6\r\n"
        );
        assert_eq!(write(ProxyVersion::V1, &Says::Unknown, None), b"PROXY UNKNOWN\r\n");
        assert_eq!(write(ProxyVersion::V2, &Says::Own, None), v2(0x20, 0, &[]));
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        let four = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        prop_oneof![four, any::<([u8; 16], u16)>().prop_map(SocketAddr::from)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            source in any_address(), destination in any_address(), after in any::<Vec<u8>>(),
            version in prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)],
        ) {
            let written = write(version, &Says::Addresses(Addresses { source, destination }), None);
            let read = read(&[&written[..], &after].concat()).expect("it is a header").expect("it is whole");
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            let addresses = read.addresses.expect("they were written");
            prop_assert_eq!(read.bytes, written.len());
            prop_assert_eq!(plain(addresses.source), plain(source));
            prop_assert_eq!(plain(addresses.destination), plain(destination));
        }

        #[test]
        fn beginnings_of_a_header_are_not_whole_and_never_wrong(
            source in any_address(), destination in any_address(), cut in any::<prop::sample::Index>(),
            version in prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)],
        ) {
            let written = write(version, &Says::Addresses(Addresses { source, destination }), None);
            prop_assert_eq!(read(&written[..cut.index(written.len())]), Ok(None));
        }

        #[test]
        fn what_follows_changes_nothing_once_it_is_whole_or_wrong(
            start in prop_oneof![Just(&b""[..]), Just(&SIGNATURE[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 1.2.3.4 "[..])],
            end in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' '), Just(0x21)], 0..200),
        ) {
            crate::fuzzing::proxy_header(&[start, &end].concat());
        }
    }
}
