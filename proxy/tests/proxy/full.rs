//! A server to which connections take their time.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::rig::{Client, address};

/// A listener with no room for one more connection, so that one that is opened there takes its time.
pub(crate) struct Full {
    listener: std::net::TcpListener,
    pub(crate) at: std::net::SocketAddr,
    waiting: Vec<std::net::TcpStream>,
}

impl Full {
    pub(crate) fn new() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = std::net::TcpListener::from(socket);
        let at = address(&listener);
        let waiting = vec![std::net::TcpStream::connect(at).unwrap()];
        Self { listener, at, waiting }
    }

    /// The kernel tries again within some seconds.
    pub(crate) fn make_room(self) -> Client {
        drop(self.listener.accept().unwrap());
        let (socket, from) = self.listener.accept().unwrap();
        assert_ne!(from, self.waiting[0].local_addr().unwrap());
        Client::of(socket)
    }
}
