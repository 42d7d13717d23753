//! A proxy with nothing around it, that reads and writes: the least that it can cost without splice(2).

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// One side of a pair.
struct End {
    socket: TcpStream,
    other: usize,
    /// Read from the other, and not written yet.
    pending: Vec<u8>,
    has_ended: bool,
    is_blocked: bool,
}

/// Leads from an address to another one: `way` is both, with a space in between.
pub(crate) fn serve(way: &str) -> Result<()> {
    let parse = |address: &str| address.parse::<SocketAddr>().map_err(Error::other);
    let (at, to) = way.split_once(' ').ok_or_else(|| Error::other("two addresses are needed"))?;
    let (mut listener, to) = (TcpListener::bind(parse(at)?)?, parse(to)?);
    super::rig::raise_limit();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut ends, mut buffer) = (Slab::new(), vec![0; 64 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, to, &mut ends, &poll)?,
                Token(key) => serve_one(key, &mut ends, &mut buffer),
            }
        }
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, ends: &mut Slab<End>, poll: &Poll) -> Result<()> {
    while let Ok((client, _)) = listener.accept() {
        let key = ends.vacant_key();
        let end = |socket, other| End { socket, other, pending: Vec::new(), has_ended: false, is_blocked: false };
        ends.insert(end(client, usize::MAX));
        let other = ends.insert(end(TcpStream::connect(to)?, key));
        ends[key].other = other;
        for key in [key, other] {
            let socket = &mut ends[key].socket;
            socket.set_nodelay(true)?;
            poll.registry().register(socket, Token(key), Interest::READABLE | Interest::WRITABLE)?;
        }
    }
    Ok(())
}

/// Something has happened on one side: that may concern both directions.
fn serve_one(key: usize, ends: &mut Slab<End>, buffer: &mut [u8]) {
    let Some(other) = ends.get(key).map(|end| end.other) else { return };
    let may_go_on = !std::mem::take(&mut ends[key].is_blocked) || pump(other, key, ends, buffer).is_ok();
    let is_over =
        !may_go_on || pump(key, other, ends, buffer).is_err() || (ends[key].has_ended && ends[other].has_ended);
    if is_over {
        [key, other].into_iter().for_each(|key| drop(ends.remove(key)));
    }
}

/// Passes on what `from` has sent.
fn pump(from: usize, to: usize, ends: &mut Slab<End>, buffer: &mut [u8]) -> Result<()> {
    let (from, to) = ends.get2_mut(from, to).expect("both are there");
    let pending = std::mem::take(&mut to.pending);
    let mut written = write(to, &pending)?;
    to.pending = pending[written..].to_vec();
    while !to.is_blocked && !from.has_ended {
        match from.socket.read(buffer) {
            Ok(0) => {
                from.has_ended = true;
                // It may have gone by now.
                let _ = to.socket.shutdown(Shutdown::Write);
            }
            Ok(bytes) => {
                written = write(to, &buffer[..bytes])?;
                to.pending = buffer[written..bytes].to_vec();
                if bytes < buffer.len() && bytes == written {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write(to: &mut End, bytes: &[u8]) -> Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match to.socket.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                to.is_blocked = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
