//! The service `line`: lines of text, echoed.

use crate::service::{Context, RestoreError, Service, Violation};

/// Messages are lines: up to 64 KiB of any bytes but the newline, then a newline; echoed back whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    steals: bool,
}

/// What is answered where nobody waits to be given a peer.
const NOBODY_WAITS: &[u8] = b"nobody is waiting\n";

/// How long a line may be, its newline not counted.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl Line {
    /// The same, and a line that is the word STEAL, in any case, is not echoed: whoever has sent it is given to the process
    /// that has waited longest, and told so if nobody waits.
    #[must_use]
    pub fn stealing() -> Self {
        Self { steals: true }
    }

    fn is_steal(self, message: &[u8]) -> bool {
        self.steals && message.strip_suffix(b"\n").is_some_and(|line| line.eq_ignore_ascii_case(b"STEAL"))
    }
}

impl Service for Line {
    type Session = ();
    const NAME: &'static str = "line";
    const STATE_VERSION: u32 = 1;
    const MOVABLE: bool = true;
    const MESSAGE_BYTES_MAX: usize = LINE_BYTES_MAX + 1;

    fn open(&mut self, _: &mut Context<'_, Self>) {}

    fn boundary(&self, _: &mut (), input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        let newline = memchr::memchr(b'\n', &input[searched..]).map(|position| searched + position);
        if newline.unwrap_or(input.len()) > LINE_BYTES_MAX {
            return Err(Violation::new(format!("a line of more than {LINE_BYTES_MAX} bytes")));
        }
        Ok(newline.map(|newline| newline + 1))
    }

    fn message(&mut self, _: &mut (), message: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        if !self.is_steal(message) {
            context.reply(message);
        } else if context.give_away(context.peer()).is_err() {
            context.reply(NOBODY_WAITS);
        }
        Ok(())
    }

    fn not_given(&mut self, _: &mut (), context: &mut Context<'_, Self>) {
        context.reply(NOBODY_WAITS);
    }

    fn save(&self, record: &mut Vec<u8>) {
        if self.steals {
            record.push(1);
        }
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        self.steals = match record {
            [] => false,
            [1] => true,
            _ => {
                return Err(RestoreError::new(format!(
                    "the state of line has {} bytes, 0 or 1 are expected",
                    record.len()
                )));
            }
        };
        Ok(())
    }

    fn save_session(&self, _: &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        match record {
            [] => Ok(()),
            _ => Err(RestoreError::new(format!("a saved line session has {} bytes, none are expected", record.len()))),
        }
    }
}
