//! The service `relayed`: whoever connects says where to, and is joined to that, so that takeovers can be made to fail with
//! connections under way and with joined peers. In no release.

use std::net::SocketAddr;
use std::time::Duration;

use crate::service::{Accepted, Connect, Context, RestoreError, StreamService, Violation};

/// How long a connection may take to come about: longer than any takeover takes to fail.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// The first line of a peer is the TCP address that it is connected to, and all that follows goes there.
#[derive(Debug, Default)]
pub struct Relayed;

impl Relayed {
    fn relay(line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        let address = std::str::from_utf8(line).ok().and_then(|line| line.parse::<SocketAddr>().ok());
        let address = address.ok_or_else(|| Violation::new("an address and a port are expected"))?;
        let how = Connect { within: CONNECT_MAX, ..Connect::to_tcp(address) };
        let other = context.connect(&how, ()).map_err(|((), error)| Violation::new(format!("{address}: {error}")))?;
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
