//! The service `seqnum`: sequence numbers, echoed.

use log::debug;

use crate::service::{Context, RestoreError, Service, Violation};

/// Messages are sequence numbers: 4 bytes, big-endian, echoed back.
///
/// It is what `reactord-client` talks to: a number that is lost, repeated or changed on its way shows at once.
#[derive(Debug, Default)]
pub struct Seqnum;

const MESSAGE_BYTES: usize = 4;

impl Service for Seqnum {
    /// The number that came last, if any came.
    type Session = Option<u32>;
    const NAME: &'static str = "seqnum";
    const STATE_VERSION: u32 = 1;
    const MOVABLE: bool = true;
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES;

    fn open(&mut self, _: &mut Context<'_, Self>) -> Option<u32> {
        None
    }

    fn boundary(&self, _: &mut Option<u32>, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok((input.len() >= MESSAGE_BYTES).then_some(MESSAGE_BYTES))
    }

    fn message(
        &mut self,
        last: &mut Option<u32>,
        message: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        let number = u32::from_be_bytes(message.try_into().expect("the boundary is after 4 bytes"));
        debug!("{} - seqnum:{number}", context.address_as_logged());
        *last = Some(number);
        context.reply(message);
        Ok(())
    }

    fn save_session(&self, last: &Option<u32>, record: &mut Vec<u8>) {
        if let Some(number) = last {
            record.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Option<u32>, RestoreError> {
        match record {
            [] => Ok(None),
            &[a, b, c, d] => Ok(Some(u32::from_be_bytes([a, b, c, d]))),
            _ => Err(RestoreError::new(format!(
                "a saved seqnum session has {} bytes, 0 or 4 are expected",
                record.len()
            ))),
        }
    }
}
