//! How long the kernel lets a silent or a broken connection be (tcp(7)). It knows sockets, not peers.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_user_timeout};

/// The kernel takes no more for `TCP_KEEPIDLE` and `TCP_KEEPINTVL`.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

const SECOND: Duration = Duration::from_secs(1);

/// Has the kernel ask after so long a silence whether the other side is there, or never.
///
/// # Errors
/// If it does not take that.
pub(crate) fn keep_alive(socket: impl AsFd, after: Option<Duration>) -> io::Result<()> {
    let Some(after) = after else { return Ok(set_socket_keepalive(&socket, false)?) };
    let after = after.clamp(SECOND, KEEPALIVE_MAX);
    set_socket_keepalive(&socket, true)?;
    // Nine probes in vain end it (`tcp_keepalive_probes`): together as long again.
    of_tcp(set_tcp_keepidle(&socket, after))?;
    of_tcp(set_tcp_keepintvl(&socket, (after / 9).max(SECOND)))
}

/// Has the kernel give up a connection on which nothing that was written is acknowledged for so long.
///
/// # Errors
/// If it does not take that.
pub(crate) fn give_up_after(socket: impl AsFd, after: Duration) -> io::Result<()> {
    let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    of_tcp(set_tcp_user_timeout(socket, after_ms))
}

/// A Unix socket knows neither, and needs it as little.
fn of_tcp(set: Result<(), Errno>) -> io::Result<()> {
    match set {
        Err(Errno::NOPROTOOPT | Errno::OPNOTSUPP) => Ok(()),
        set => Ok(set?),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle, tcp_keepintvl, tcp_user_timeout};

    use super::*;

    #[test]
    fn a_connection_is_told_and_a_unix_socket_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        keep_alive(&socket, Some(Duration::from_secs(90))).unwrap();
        give_up_after(&socket, Duration::from_millis(1500)).unwrap();
        let told = (tcp_keepidle(&socket).unwrap(), tcp_keepintvl(&socket).unwrap());
        assert_eq!(told, (Duration::from_secs(90), Duration::from_secs(10)));
        assert_eq!((tcp_user_timeout(&socket).unwrap(), socket_keepalive(&socket).unwrap()), (1500, true));
        keep_alive(&socket, None).unwrap();
        assert!(!socket_keepalive(&socket).unwrap());
        let (local, _other) = UnixStream::pair().unwrap();
        keep_alive(&local, Some(Duration::from_secs(1))).unwrap();
        give_up_after(&local, Duration::from_secs(1)).unwrap();
    }
}
