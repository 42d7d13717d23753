//! Whom the proxies lead to in bulk: it sends as much as goes on each connection, and takes all that comes, in one thread, so
//! that it leaves the rest of its processor to the clients.

use std::collections::{HashMap, HashSet};
use std::io::{Error, ErrorKind, Result, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::{RecvFlags, recv};

const LISTENER: Token = Token(usize::MAX);

/// What one connection is sent, and what is taken from it, before it is the others' turn.
const SENT_BYTES: usize = 256 << 10;
const TAKEN_BYTES: usize = 1 << 20;

/// Floods on a port that it says on standard error, for ever.
pub(crate) fn serve() -> Result<()> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    eprintln!("listening on {}", listener.local_addr()?);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (bytes, mut sink) = (vec![0; SENT_BYTES], vec![0; TAKEN_BYTES]);
    let (mut sockets, mut due, mut next) = (HashMap::new(), HashSet::new(), 0);
    loop {
        poll.poll(&mut events, if due.is_empty() { None } else { Some(Duration::ZERO) })?;
        due.extend(events.iter().map(|event| event.token()));
        if due.remove(&LISTENER) {
            while let Ok((mut socket, _)) = listener.accept() {
                poll.registry().register(&mut socket, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                sockets.insert(Token(next), socket);
                next += 1;
            }
        }
        due.retain(|token| match sockets.get_mut(token).map(|socket| go_on(socket, &bytes, &mut sink)) {
            Some(Ok(may_go_on)) => may_go_on,
            Some(Err(_)) => {
                sockets.remove(token);
                false
            }
            None => false,
        });
    }
}

/// Sends and takes once, and says whether more may go at once.
fn go_on(socket: &mut TcpStream, bytes: &[u8], sink: &mut [u8]) -> Result<bool> {
    let sent = or_none(socket.write(bytes))?;
    let taken = or_none(take(socket, sink))?;
    if taken == Some(0) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(sent.is_some() || taken.is_some())
}

/// What would block has brought nothing.
fn or_none(done: Result<usize>) -> Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

/// Takes what has come without looking at it, so that it costs little (`MSG_TRUNC`, tcp(7)). It waits for nothing.
pub(crate) fn take(socket: impl std::os::fd::AsFd, sink: &mut [u8]) -> Result<usize> {
    let taken = recv(&socket, sink, RecvFlags::TRUNC | RecvFlags::DONTWAIT);
    taken.map(|(_, bytes)| bytes).map_err(Error::from)
}
