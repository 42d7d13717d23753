//! A chat that keeps its clients when it is replaced: the name of each, which is its first line, and what it is typing go
//! to the next worker with the connection.
//!
//! ```sh
//! cargo build --release --example chat
//! reactord supervise -p 1234 --workers 4 -- target/release/examples/chat
//! ```
//!
//! In other terminals, `nc 127.0.0.1 1234` a few times, and `kill -HUP` the supervisor while you type.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! mio = { version = "1", features = ["net", "os-poll"] }
//! reactord = { path = "…", default-features = false }
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU32;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, event::Event};
use reactord::worker::{Back, Connection, ConnectionId, Queue};

struct Client {
    id: ConnectionId,
    stream: TcpStream,
    name: Vec<u8>,
    typed: Vec<u8>,
    is_gone: bool,
}

impl Client {
    /// A state is the name, a newline, and what is being typed.
    fn new(Connection { id, stream, state, .. }: Connection) -> Self {
        let state = state.unwrap_or_else(|| b"\n".to_vec());
        let (name, typed) = state.split_at(state.iter().position(|byte| *byte == b'\n').unwrap_or(0));
        let (name, typed) = (name.to_vec(), typed.iter().skip(1).copied().collect());
        Self { id, stream: TcpStream::from_std(stream), name, typed, is_gone: false }
    }

    /// What it has said since.
    fn hear(&mut self) -> Vec<Vec<u8>> {
        let (mut lines, mut bytes) = (Vec::new(), [0; 4096]);
        self.is_gone |= loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break true,
                Ok(count) => self.typed.extend(&bytes[..count]),
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        while let Some(end) = self.typed.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.typed.drain(..=end).collect();
            match self.name.is_empty() {
                true => self.name = line[..end].to_vec(),
                false => lines.push([&self.name[..], b": ", &line].concat()),
            }
        }
        // So that a state is never too long.
        self.is_gone |= self.typed.len() > 1000;
        lines
    }

    /// Who reads too slowly misses a line, or is let go after a part of one.
    fn say(&mut self, line: &[u8]) {
        self.is_gone |= self.stream.write(line).is_ok_and(|count| count < line.len());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut queue = Queue::inherit().map_err(|error| error.to_string())?.giving_back();
    let mut clients = HashMap::<Token, Client>::new();
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    poll.registry().register(&mut queue, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    queue.want(NonZeroU32::new(900).expect("it is not 0"))?;
    while !clients.is_empty() || !queue.may_exit()? {
        // Where too many descriptors are under way, no event tells when one may go.
        poll.poll(&mut events, (queue.owed() > 0).then_some(std::time::Duration::from_millis(10)))?;
        for token in events.iter().map(Event::token) {
            let lines = clients.get_mut(&token).map(Client::hear).unwrap_or_default();
            lines.iter().for_each(|line| clients.values_mut().for_each(|client| client.say(line)));
        }
        while let Some(connection) = queue.try_accept()? {
            let token = Token(usize::try_from(connection.id.number())?);
            let client = clients.entry(token).insert_entry(Client::new(connection)).into_mut();
            poll.registry().register(&mut client.stream, token, Interest::READABLE)?;
        }
        clients.retain(|_, Client { id, stream, name, typed, is_gone }| {
            let state = [&name[..], b"\n", typed].concat();
            // A queue that fails has ended, and asks for nothing more.
            if *is_gone {
                queue.done(*id).ok();
            } else if queue.owed() == 0 || queue.try_give_back(*id, &*stream, &state).ok() != Some(Back::Given) {
                return true;
            }
            // Before it is closed: events go on as long as anybody has a duplicate.
            poll.registry().deregister(stream).ok();
            queue.want(NonZeroU32::MIN).ok();
            false
        });
    }
    Ok(())
}
