//! The first server of a soak: started, and waited for until it serves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Events;

use super::servers::{FIRST, Heard, Servers};
use crate::error::Error;
use crate::wakeups::Wakeups;

/// How long it may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Starts the first server, and waits until it is ready.
pub(crate) fn start(servers: &mut Servers, wakeups: &mut Wakeups) -> Result<SocketAddr, Error> {
    let number = servers
        .start_listening(FIRST)
        .map_err(|error| Error::Server(format!("{} cannot be started: {error}", servers.program().display())))?;
    let deadline = Instant::now() + START_PATIENCE;
    let mut events = Events::with_capacity(16);
    let mut address = None;
    while Instant::now() < deadline && wakeups.stops == 0 {
        wakeups.wait(&mut events, Some(deadline))?;
        for event in &events {
            if wakeups.take(event.token())? {
                continue;
            }
            for heard in servers.hear(event.token()) {
                match heard {
                    Heard::Line(_, line) => {
                        address = address.or_else(|| listening(&line));
                        if line.contains("Starting Takeover channel")
                            && let Some(address) = address
                        {
                            return Ok(address);
                        }
                    }
                    Heard::Ended(number, status) => {
                        let (pid, words) = (servers.pid(number), servers.last_words(number));
                        return Err(Error::Server(format!("the server (pid {pid}) did not start: {status}; {words}")));
                    }
                }
            }
        }
    }
    if wakeups.stops > 0 {
        return Err(Error::Server("stopped while the server was starting".to_owned()));
    }
    let (pid, seconds) = (servers.pid(number), START_PATIENCE.as_secs());
    let words = servers.last_words(number);
    Err(Error::Server(format!("the server (pid {pid}) was not ready after {seconds} s; {words}")))
}

/// The address in `Starting TCP server on [127.0.0.1]:1234`.
pub(crate) fn listening(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("Starting TCP server on [")?;
    let (ip, port) = address.split_once("]:")?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}
