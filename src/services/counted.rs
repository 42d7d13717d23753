//! The service `counted`: lines, echoed and counted, so that takeovers can be made to fail with shared state under way, and
//! with deadlines that pass. In no release.

use std::time::Duration;

use super::Line;
use crate::peer::PeerId;
use crate::service::{Closed, Context, Entries, Keyed, RestoreError, Save, Service, Violation};

/// A deadline that is moved with every line, and never passes.
const DISTANT: Duration = Duration::from_secs(3600);

/// Lines as [`Line`] has them. How many a peer has sent is known twice: in its session, and among what all peers share. A
/// peer of which the two differ is closed, and its client notices. Whoever says `in 300` is told `due` after 300 ms. At `bye`
/// it says so too, and closes whoever has said it; at `panic` it panics.
#[derive(Debug, Default)]
pub struct Counted {
    lines: Keyed<PeerId, u64>,
}

impl Service for Counted {
    type Session = u64;
    const NAME: &'static str = "counted";
    const STATE_VERSION: u32 = 1;
    const MESSAGE_BYTES_MAX: usize = Line::MESSAGE_BYTES_MAX;

    fn open(&mut self, context: &mut Context<'_, Self>) -> u64 {
        self.lines.insert(context.peer(), 0);
        0
    }

    fn boundary(&self, _: &mut u64, input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        Line::default().boundary(&mut (), input, searched)
    }

    fn message(&mut self, sent: &mut u64, line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        assert!(line != b"panic\n", "the service was told to panic");
        let shared = self.lines.get_mut(&context.peer());
        match shared {
            Some(shared) if shared == sent => *shared += 1,
            shared => return Err(Violation::new(format!("{sent} lines, {shared:?} by what is shared"))),
        }
        *sent += 1;
        context.set_deadline(context.peer(), Some(wanted(line).unwrap_or(DISTANT)));
        context.reply(line);
        if line == b"bye\n" {
            context.close();
        }
        Ok(())
    }

    fn deadline(&mut self, _: &mut u64, context: &mut Context<'_, Self>) {
        context.reply(b"due\n");
    }

    fn closed(&mut self, _: u64, _: &Closed, context: &mut Context<'_, Self>) {
        self.lines.remove(&context.peer());
    }

    fn save_session(&self, sent: &u64, record: &mut Vec<u8>) {
        sent.save(record);
    }

    fn restore_session(&self, version: u32, record: &[u8]) -> Result<u64, RestoreError> {
        Save::restore(version, record)
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(&mut self.lines)
    }
}

/// After how long the client wants to hear something.
fn wanted(line: &[u8]) -> Option<Duration> {
    let ms = line.strip_prefix(b"in ")?.trim_ascii_end();
    std::str::from_utf8(ms).ok()?.parse().ok().map(Duration::from_millis)
}
