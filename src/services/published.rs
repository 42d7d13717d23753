//! The service `published`: what one peer says all others hear who want to, each message with a number that all share, so that it shows
//! if one is lost, or comes twice, or what is shared is not what was sent. In no release.

use super::Line;
use crate::peer::PeerId;
use crate::service::{Closed, Context, Entries, Keyed, RestoreError, Save, Service, Violation};

/// Whoever says `sub` is told `from 7`, and from then on every message, from number 7 on, as `7 text`. Whoever says `pub text` is told
/// its number.
#[derive(Debug, Default)]
pub struct Published {
    subscribers: Keyed<PeerId, ()>,
    /// How many messages there were.
    count: u64,
}

impl Published {
    fn publish(&mut self, text: &[u8], context: &mut Context<'_, Self>) {
        let number = self.count;
        self.count += 1;
        let message = [format!("{number} ").as_bytes(), text].concat();
        let mut slow = Vec::new();
        for (subscriber, ()) in self.subscribers.iter() {
            // Whoever would miss one notices.
            if context.send(*subscriber, &message).is_err() {
                slow.push(*subscriber);
            }
        }
        slow.into_iter().for_each(|subscriber| context.close_peer(subscriber));
        context.reply(format!("{number}\n").as_bytes());
    }
}

impl Service for Published {
    type Session = ();
    const NAME: &'static str = "published";
    const STATE_VERSION: u32 = 1;
    const MESSAGE_BYTES_MAX: usize = Line::MESSAGE_BYTES_MAX;

    fn open(&mut self, _: &mut Context<'_, Self>) {}

    fn boundary(&self, (): &mut (), input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        Line::default().boundary(&mut (), input, searched)
    }

    fn message(&mut self, (): &mut (), line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        if let Some(text) = line.strip_prefix(b"pub ") {
            self.publish(text, context);
        } else if line == b"sub\n" {
            self.subscribers.insert(context.peer(), ());
            context.reply(format!("from {}\n", self.count).as_bytes());
        } else {
            return Err(Violation::new("a line is neither `sub` nor `pub text`"));
        }
        Ok(())
    }

    fn closed(&mut self, (): (), _: &Closed, context: &mut Context<'_, Self>) {
        self.subscribers.remove(&context.peer());
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn save(&self, shared: &mut Vec<u8>) {
        self.count.save(shared);
    }

    fn restore(&mut self, version: u32, shared: &[u8]) -> Result<(), RestoreError> {
        self.count = Save::restore(version, shared)?;
        Ok(())
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(&mut self.subscribers)
    }
}
