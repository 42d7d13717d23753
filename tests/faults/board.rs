//! What all clients of a load share: whatever is published has one number, by which everybody who hears it knows it.

use std::collections::{BTreeMap, HashMap};

/// What was published, as all who hear it agree.
#[derive(Default)]
pub(crate) struct Board {
    /// The publisher and its number of the message, for each number that all share.
    pub(crate) messages: Vec<(u32, u64)>,
    /// How many of each publisher there are.
    of: HashMap<u32, u64>,
    /// What publishers were told, and nobody has heard yet.
    pub(crate) told: BTreeMap<u64, (u32, u64)>,
    /// What somebody has heard who does not hear all, before anybody who does.
    pub(crate) ahead: BTreeMap<u64, (u32, u64)>,
}

impl Board {
    /// A subscriber has heard this.
    pub(crate) fn hear(&mut self, number: u64, message: (u32, u64)) -> Result<(), String> {
        let at = usize::try_from(number).expect("there are few");
        let is_known = |known: (u32, u64)| {
            if known == message { Ok(()) } else { Err(format!("{number} is {message:?} and {known:?}")) }
        };
        match self.messages.get(at) {
            Some(known) => return is_known(*known),
            None if at > self.messages.len() => return is_known(*self.ahead.entry(number).or_insert(message)),
            None => self.ahead.remove(&number).map_or(Ok(()), is_known)?,
        }
        let of = self.of.entry(message.0).or_default();
        if *of != message.1 {
            return Err(format!("{number} is {message:?}, where {of} of it were heard"));
        }
        *of += 1;
        self.messages.push(message);
        match self.told.remove(&number) {
            Some(told) if told != message => {
                Err(format!("{number} is {message:?}, and its publisher was told {told:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A publisher was told the number of its message.
    pub(crate) fn tell(&mut self, number: u64, message: (u32, u64)) -> Result<(), String> {
        match self.messages.get(usize::try_from(number).expect("there are few")) {
            Some(known) if *known != message => Err(format!("{message:?} is told to be {number}, which is {known:?}")),
            Some(_) => Ok(()),
            None => match self.told.insert(number, message) {
                None => Ok(()),
                Some(other) => Err(format!("{message:?} and {other:?} are told to be {number}")),
            },
        }
    }
}
