//! What the other side's kernel has acknowledged of a connection's output: it knows sockets, not peers.
//!
//! `TCP_INFO` (tcp(7)) tells it of one socket, in a microsecond or two, whoever asks and wherever: it needs no privilege,
//! no `/proc`, and no second kind of socket that a sandbox may forbid.

use std::os::fd::AsFd;

use log::debug;
use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

/// `TCP_CLOSE` in the kernel's `tcp_states.h`.
pub(crate) const STATE_CLOSED: u8 = 7;

/// `TCP_SYN_SENT`.
pub(crate) const STATE_CONNECTING: u8 = 2;

/// A kernel that answers has answered all probes but the one that is under way.
const PROBES_UNDER_WAY_MAX: u8 = 1;

/// How far the output of one connection is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// All that was written is acknowledged, the end of the output (FIN) too if that was sent; or the connection is
    /// closed, and nothing that is not acknowledged ever will be.
    pub(crate) complete: bool,
    /// So much was acknowledged since the connection began, in whichever processes. What counts is whether it grows.
    pub(crate) acknowledged_bytes: u64,
    /// The client's kernel answers, and has no room for more. It makes room known when an MSS and a sixteenth of its
    /// buffer are free (RFC 9293, 3.8.6.2.2), so a client that reads slowly looks for a long time like one that does not
    /// read.
    pub(crate) window_shut: bool,
}

impl Delivery {
    /// There is nothing between the two sides that would have to acknowledge.
    pub(crate) const COMPLETE: Self = Self { complete: true, acknowledged_bytes: 0, window_shut: false };

    /// Whoever waits for the delivery then waits as long as for one who acknowledges nothing.
    pub(crate) const UNKNOWN: Self = Self { complete: false, acknowledged_bytes: 0, window_shut: false };

    /// Looks at `socket`. What is written to one that is not TCP is with the other side at once.
    pub(crate) fn of(socket: impl AsFd) -> Self {
        match getsockopt(&socket, TcpInfoOption) {
            Ok(info) => Self::from(info),
            Err(Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => Self::COMPLETE,
            Err(error) => {
                debug!("What a connection has delivered cannot be told, so it is taken for nothing: TCP_INFO: {error}");
                Self::UNKNOWN
            }
        }
    }
}

/// What the kernel has counted of a connection since it began, in whichever processes (`TCP_INFO`, tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many bytes have come from the client. The end of its output (FIN) counts as one.
    pub received_bytes: u64,
    /// Of so many bytes the client's kernel has said that they have arrived. The end of the output counts as one.
    pub acknowledged_bytes: u64,
    /// How long a segment takes to the client and back, as the kernel has it smoothed by now, in µs. 0 if that is not known.
    pub round_trip_us: u32,
    /// How many segments were sent to the client more than once.
    pub retransmits: u32,
}

impl Counted {
    /// What is counted at `socket`; nothing, if that is no TCP connection or the kernel does not tell.
    pub(crate) fn of(socket: impl AsFd) -> Self {
        Self::known(socket).unwrap_or_default()
    }

    /// The same, if anything is counted there.
    pub(crate) fn known(socket: impl AsFd) -> Option<Self> {
        let info = getsockopt(&socket, TcpInfoOption).ok()?;
        let TcpInfo { received_bytes, acknowledged_bytes, round_trip_us, retransmits, .. } = info;
        Some(Self { received_bytes, acknowledged_bytes, round_trip_us, retransmits })
    }
}

/// What moves with whatever arrives from the client: its state, and what the kernel has counted of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) state: u8,
    pub(crate) received_bytes: u64,
    pub(crate) acknowledged_bytes: u64,
}

impl Counters {
    /// Where the kernel's structure has them (`struct tcp_info` in `linux/tcp.h`).
    const ACKNOWLEDGED_AT: usize = 120;
    const RECEIVED_AT: usize = 128;

    /// Those of `socket`, if that is TCP.
    pub(crate) fn of(socket: impl AsFd) -> Option<Self> {
        let TcpInfo { state, received_bytes, acknowledged_bytes, .. } = getsockopt(&socket, TcpInfoOption).ok()?;
        Some(Self { state, received_bytes, acknowledged_bytes })
    }

    /// Those that the kernel has told in its own form.
    pub(crate) fn parse(info: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_ne_bytes(info.get(at..at + size_of::<u64>())?.try_into().ok()?));
        let (acknowledged_bytes, received_bytes) = (number(Self::ACKNOWLEDGED_AT)?, number(Self::RECEIVED_AT)?);
        Some(Self { state: *info.first()?, received_bytes, acknowledged_bytes })
    }
}

const _: () = assert!(std::mem::offset_of!(TcpInfo, acknowledged_bytes) == Counters::ACKNOWLEDGED_AT);
const _: () = assert!(std::mem::offset_of!(TcpInfo, received_bytes) == Counters::RECEIVED_AT);

impl From<TcpInfo> for Delivery {
    fn from(info: TcpInfo) -> Self {
        let in_flight = info.unacked_segments > 0;
        let unsent = info.unsent_bytes > 0;
        Self {
            complete: info.state == STATE_CLOSED || !in_flight && !unsent,
            acknowledged_bytes: info.acknowledged_bytes,
            window_shut: unsent && !in_flight && info.probes <= PROBES_UNDER_WAY_MAX,
        }
    }
}

/// The front of the kernel's `struct tcp_info`, without a gap between its fields. It only ever grows at the end; Linux
/// has had this much since 4.6, and cookies of sockets, without which nothing is served here, since 4.12.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(unreachable_pub, reason = "the option below is public, and a type that it shows has to be")]
pub struct TcpInfo {
    state: u8,
    _congestion_state: u8,
    _retransmits: u8,
    /// Sent to a shut window, and not answered.
    probes: u8,
    _backoff_to_flags: [u8; 4],
    _timeouts_and_sizes: [u32; 4],
    unacked_segments: u32,
    _sacked_to_receive_threshold: [u32; 10],
    round_trip_us: u32,
    _round_trip_variance_to_receive_space: [u32; 7],
    retransmits: u32,
    _pacing: [u64; 2],
    acknowledged_bytes: u64,
    received_bytes: u64,
    _segments: [u32; 2],
    unsent_bytes: u32,
    _round_trip_min: u32,
}

const _: () = assert!(size_of::<TcpInfo>() == 152, "as far as the kernel's ends after tcpi_min_rtt");

sockopt_impl!(
    /// Any bytes are a `TcpInfo`, and the kernel fills in as many as are asked for.
    TcpInfoOption, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, TcpInfo
);

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// A server's socket and its client's.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    /// Writes until the socket takes no more.
    fn fill(socket: &mut TcpStream) -> usize {
        socket.set_nonblocking(true).unwrap();
        let mut written = 0;
        loop {
            match socket.write(&[7; 64 << 10]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for the kernel's timers, not for ours.
    fn look_until(socket: &TcpStream, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        let began = Instant::now();
        loop {
            let delivery = Delivery::of(socket);
            if wanted(&delivery) {
                return delivery;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{delivery:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_client_has_no_room_for_is_not_delivered_until_it_reads() {
        let (mut server, mut client) = connection();
        let written = fill(&mut server);
        server.shutdown(Shutdown::Write).unwrap();
        let shut = look_until(&server, |delivery| delivery.window_shut);
        assert!(!shut.complete, "{shut:?}");
        let read = client.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(read, written);
        let complete = look_until(&server, |delivery| delivery.complete);
        assert!(complete.acknowledged_bytes > shut.acknowledged_bytes, "{complete:?} after {shut:?}");
        assert!(!complete.window_shut, "{complete:?}");
    }

    #[test]
    fn the_end_of_the_output_is_delivered_like_any_byte() {
        let (server, _client) = connection();
        let before = look_until(&server, |delivery| delivery.complete);
        server.shutdown(Shutdown::Write).unwrap();
        let after = look_until(&server, |delivery| delivery.complete);
        assert_eq!(after.acknowledged_bytes, before.acknowledged_bytes + 1);
    }

    #[test]
    fn a_connection_that_was_reset_has_nothing_left_to_deliver() {
        let (mut server, mut client) = connection();
        client.write_all(b"never read").unwrap();
        fill(&mut server);
        // What it has not read makes the kernel reset the connection.
        drop(client);
        look_until(&server, |delivery| delivery.complete);
    }

    #[test]
    fn a_unix_socket_has_delivered_what_was_written() {
        let (mut server, _client) = UnixStream::pair().unwrap();
        server.write_all(b"hello").unwrap();
        assert_eq!(Delivery::of(&server), Delivery::COMPLETE);
    }
}
