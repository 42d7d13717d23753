//! An echo server with nothing around it: what reactord is compared with.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// Accepts and echoes, on a port that it says on standard error, for ever.
pub(crate) fn serve() -> std::io::Result<()> {
    const LISTENER: Token = Token(usize::MAX);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    eprintln!("listening on {}", listener.local_addr()?);
    let mut connections: HashMap<Token, TcpStream> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                while let Ok((mut connection, _)) = listener.accept() {
                    connection.set_nodelay(true)?;
                    poll.registry().register(&mut connection, Token(next), Interest::READABLE)?;
                    connections.insert(Token(next), connection);
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&token)
                && !echo(connection, &mut buffer, event.is_read_closed())
            {
                connections.remove(&token);
            }
        }
    }
}

/// Echoes what is there, and says whether the connection goes on. A short read has read everything, unless the client
/// has stopped sending (epoll(7)).
fn echo(connection: &mut TcpStream, buffer: &mut [u8], read_closed: bool) -> bool {
    loop {
        match connection.read(buffer) {
            Ok(0) => return false,
            Ok(bytes) => {
                if connection.write_all(&buffer[..bytes]).is_err() {
                    return false;
                }
                if bytes < buffer.len() && !read_closed {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
