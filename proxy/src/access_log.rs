//! The line that is logged of a connection when it has ended, as words or as an object of JSON.
//!
//! Both have the same fields under the same names. What is not known is left out: a client that was refused has no server.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use reactord::tls::{Suite, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::AccessLog;
use crate::proxy_header::protocol;

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// When the client was accepted.
    pub accepted: SystemTime,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// Who connected, as the socket or a PROXY header says. `None` for a client of a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address of the proxy before this one, where the client is who a PROXY header says.
    pub passed_on_by: Option<SocketAddr>,
    /// The name that the client asked for in its ClientHello, whoever that was for.
    pub server_name: Option<Cow<'a, str>>,
    /// Version and suite of its TLS, if that was ended here.
    pub tls: Option<(Version, Suite)>,
    /// The upstream that it was led to.
    pub upstream: Option<&'a str>,
    /// The server that it was led to last.
    pub server: Option<&'a str>,
    /// How long it took from when the client was accepted until it was connected on.
    pub connecting: Option<Duration>,
    /// How long the connection lasted, from when the client was accepted.
    pub lasted: Duration,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How often another connection to a server was tried.
    pub retries: u32,
    /// How it ended.
    pub end: End,
    /// The round trip to the client, as the kernel estimated it last (`TCP_INFO`).
    pub round_trip: Option<Duration>,
    /// Segments that were sent to the client more than once.
    pub retransmits: Option<u32>,
    /// How many takeovers it has seen.
    pub takeovers: u32,
}

/// How a connection ended. The words are what logs have, and stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Both sides had said all they had to say.
    Finished,
    /// The client reset it.
    ClientReset,
    /// The server reset it.
    ServerReset,
    /// The client's host does not answer any more.
    ClientVanished,
    /// The server's host does not answer any more.
    ServerVanished,
    /// The client broke TLS, or its connection ended without a word that it is to end: anybody may have cut it off.
    ClientTls,
    /// The same of the server.
    ServerTls,
    /// Neither side said anything for `idle_timeout`.
    Idle,
    /// One side had ended, and the other said nothing for `half_close_timeout`.
    HalfClosed,
    /// The client's network may not connect: `allow` or `deny`.
    Denied,
    /// The client's address connects too often: `connection_rate`.
    TooOften,
    /// The client had not said what it has to for `header_timeout`.
    HeaderTimeout,
    /// What the client said is no header of the PROXY protocol.
    NoHeader,
    /// What the client said is no ClientHello.
    NoHello,
    /// No upstream is there for the name that the client asked for.
    NoRoute,
    /// The client went before it was connected to a server.
    ClientLeft,
    /// No server of the upstream was up.
    NoServer,
    /// All servers had as many connections as they may, and so had the queue.
    QueueFull,
    /// All servers had as many connections as they may for as long as a client waits.
    QueueTimeout,
    /// The server refused or could not be reached, as often as it was tried.
    Unreachable,
    /// The server was not reached within `connect_timeout`, as often as it was tried.
    ConnectTimeout,
    /// The server failed its checks: `on_down`.
    ServerDown,
    /// Its server or listener is gone from the file: `on_removed`.
    Removed,
    /// An operator closed it.
    Closed,
    /// The proxy stopped.
    Stopped,
    /// The proxy lacked something, such as open files or memory.
    Internal,
}

impl End {
    /// As it is logged.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientReset => "client-reset",
            Self::ServerReset => "server-reset",
            Self::ClientVanished => "client-vanished",
            Self::ServerVanished => "server-vanished",
            Self::ClientTls => "client-tls",
            Self::ServerTls => "server-tls",
            Self::Idle => "idle",
            Self::HalfClosed => "half-closed",
            Self::Denied => "denied",
            Self::TooOften => "too-often",
            Self::HeaderTimeout => "header-timeout",
            Self::NoHeader => "no-header",
            Self::NoHello => "no-hello",
            Self::NoRoute => "no-route",
            Self::ClientLeft => "client-left",
            Self::NoServer => "no-server",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::ServerDown => "server-down",
            Self::Removed => "removed",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Internal => "internal",
        }
    }
}

/// The line of a connection, without a newline. `None` if the log is off.
#[must_use]
pub fn line(form: AccessLog, ended: &Ended<'_>) -> Option<String> {
    let mut line = Line { json: form == AccessLog::Json, text: String::with_capacity(400) };
    match form {
        AccessLog::Off => return None,
        AccessLog::Text => line.fields(ended),
        AccessLog::Json => {
            line.text.push('{');
            line.fields(ended);
            line.text.push('}');
        }
    }
    Some(line.text)
}

struct Line {
    json: bool,
    text: String,
}

impl Line {
    fn fields(&mut self, ended: &Ended<'_>) {
        let accepted = OffsetDateTime::from(ended.accepted).replace_microsecond(microseconds(ended.accepted));
        let accepted = accepted.ok().and_then(|accepted| accepted.format(&Rfc3339).ok());
        self.word("time", accepted.as_deref());
        self.word("listener", Some(ended.listener));
        self.word("client", ended.client.map(plain).as_deref());
        self.word("passed_on_by", ended.passed_on_by.map(plain).as_deref());
        self.word("server_name", ended.server_name.as_deref());
        self.word("tls_version", ended.tls.map(|(version, _)| protocol(version)));
        self.word("tls_suite", ended.tls.map(|(_, suite)| suite.name()));
        self.word("upstream", ended.upstream);
        self.word("server", ended.server);
        self.number("connecting_seconds", ended.connecting.map(seconds));
        self.number("lasted_seconds", Some(seconds(ended.lasted)));
        self.number("received_bytes", Some(ended.received));
        self.number("sent_bytes", Some(ended.sent));
        self.number("retries", Some(ended.retries));
        self.word("end", Some(ended.end.word()));
        self.number("round_trip_seconds", ended.round_trip.map(seconds));
        self.number("retransmits", ended.retransmits);
        self.number("takeovers", Some(ended.takeovers));
    }

    fn begin(&mut self, name: &str) {
        let first = self.text.is_empty() || self.text == "{";
        let begun = match (self.json, first) {
            (true, true) => write!(self.text, "\"{name}\":"),
            (true, false) => write!(self.text, ",\"{name}\":"),
            (false, true) => write!(self.text, "{name}="),
            (false, false) => write!(self.text, " {name}="),
        };
        begun.expect("a String has room");
    }

    fn number(&mut self, name: &str, number: Option<impl Display>) {
        if let Some(number) = number {
            self.begin(name);
            write!(self.text, "{number}").expect("a String has room");
        }
    }

    /// A word that needs no quotes: names of the file, addresses and names of hosts have no such letters.
    fn word(&mut self, name: &str, word: Option<&str>) {
        let Some(word) = word else { return };
        self.begin(name);
        if self.json {
            self.text.push_str(&serde_json::Value::from(word).to_string());
        } else {
            self.text.extend(word.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }));
        }
    }
}

/// An address as others read it: an IPv4 address is one, also from a listener of both families.
fn plain(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn microseconds(at: SystemTime) -> u32 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_micros())
}

/// With six digits behind the point, so that lines can be compared and parsed by anything.
fn seconds(duration: Duration) -> impl Display {
    struct Seconds(Duration);
    impl Display for Seconds {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
        }
    }
    Seconds(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended() -> Ended<'static> {
        Ended {
            accepted: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789),
            listener: "postgres",
            client: Some("[::ffff:10.1.2.3]:40312".parse().expect("it is an address")),
            passed_on_by: None,
            server_name: None,
            tls: None,
            upstream: Some("pg"),
            server: Some("10.0.0.7:5432"),
            connecting: Some(Duration::from_micros(1234)),
            lasted: Duration::from_millis(5_321_100),
            received: 1234,
            sent: 5678,
            retries: 0,
            end: End::Finished,
            round_trip: Some(Duration::from_micros(800)),
            retransmits: Some(2),
            takeovers: 3,
        }
    }

    #[test]
    fn line_of_words_has_what_is_known_in_a_fixed_order() {
        let line = line(AccessLog::Text, &ended()).expect("it is on");
        assert_eq!(
            line,
            "time=2025-11-24T16:00:00.123456Z listener=postgres client=10.1.2.3:40312 upstream=pg server=10.0.0.7:5432 \
             connecting_seconds=0.001234 lasted_seconds=5321.100000 received_bytes=1234 sent_bytes=5678 retries=0 \
             end=finished round_trip_seconds=0.000800 retransmits=2 takeovers=3"
        );
    }

    #[test]
    fn line_of_json_has_the_same_fields_and_is_an_object() {
        let refused = Ended {
            upstream: None,
            server: None,
            connecting: None,
            server_name: Some("a\"b\n".into()),
            passed_on_by: Some("[fd00::1]:5".parse().expect("it is an address")),
            round_trip: None,
            retransmits: None,
            end: End::NoRoute,
            ..ended()
        };
        let object = |ended: &Ended<'_>| -> serde_json::Value {
            let line = line(AccessLog::Json, ended).expect("it is on");
            assert!(!line.contains('\n'), "{line}");
            serde_json::from_str(&line).expect("it is JSON")
        };
        assert_eq!(object(&refused)["server_name"], "a\"b\n");
        assert_eq!(object(&refused)["passed_on_by"], "[fd00::1]:5");
        assert_eq!(object(&refused).get("server"), None);
        let spoken = Ended { tls: Some((Version::Tls13, Suite::Tls13Aes128GcmSha256)), ..ended() };
        let text = line(AccessLog::Text, &spoken).expect("it is on");
        assert!(text.contains(" tls_version=TLSv1.3 tls_suite=TLS_AES_128_GCM_SHA256 upstream="), "{text}");
        let object = object(&spoken);
        let fields = object.as_object().expect("it is an object");
        assert_eq!(fields.len(), text.split(' ').count());
        assert!(text.split(' ').all(|field| fields.contains_key(field.split('=').next().expect("it has a name"))));
        assert_eq!(
            (&object["lasted_seconds"], &object["end"]),
            (&serde_json::json!(5321.1), &serde_json::json!("finished"))
        );
    }

    #[test]
    fn nothing_in_a_line_of_words_can_look_like_another_field_or_line() {
        let line =
            line(AccessLog::Text, &Ended { server_name: Some("a end=x\nb".into()), ..ended() }).expect("it is on");
        assert!(line.contains(" server_name=a?end=x?b "), "{line}");
        assert_eq!(super::line(AccessLog::Off, &ended()), None);
    }
}
