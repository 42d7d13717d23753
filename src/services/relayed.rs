//! The service `relayed`: whoever connects says where to, and is joined to that, so that takeovers can be made to fail with
//! connections under way and with joined peers. In no release.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::listen::Target;
use crate::service::{Accepted, Connect, Context, RestoreError, StreamService, Violation};

/// How long a connection may take to come about: longer than any takeover takes to fail.
const CONNECT_MAX: Duration = Duration::from_secs(600);

/// The first line of a peer is the TCP address, or the path, that it is connected to, and all that follows goes there.
#[derive(Debug, Default)]
pub struct Relayed;

impl Relayed {
    fn relay(line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        let line = String::from_utf8_lossy(line);
        let address = line.parse::<SocketAddr>();
        let to = address.map_or_else(|_| Target::Unix(PathBuf::from(&*line)), Target::Tcp);
        let how = Connect { within: CONNECT_MAX, ..Connect::to(to) };
        let other = context.connect(&how, ()).map_err(|((), error)| Violation::new(format!("{line}: {error}")))?;
        context.join(context.peer(), other, None).map_err(|error| Violation::new(error.to_string()))
    }
}

impl StreamService for Relayed {
    type Session = ();
    const NAME: &'static str = "relayed";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) {}

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        searched: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let Some(newline) = memchr::memchr(b'\n', &input[searched..]) else { return Ok(0) };
        let end = searched + newline;
        Self::relay(&input[..end], context)?;
        Ok(end + 1)
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}
