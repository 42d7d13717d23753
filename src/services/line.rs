//! The service `line`: lines of text, echoed.

use crate::service::{Context, RestoreError, Service, Violation};

/// Messages are lines: up to 64 KiB of any bytes but the newline, then a newline; echoed back whole.
#[derive(Debug, Default)]
pub struct Line;

/// How long a line may be, its newline not counted.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl Service for Line {
    type Session = ();
    const NAME: &'static str = "line";
    const STATE_VERSION: u32 = 1;
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
        context.reply(message);
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
