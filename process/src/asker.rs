//! Who has asked for an upgrade, of a server or a supervisor, and is told what comes of it.

use std::fmt;

use crate::channel::Channel;
use crate::frame;
use crate::requests::{UPGRADED, UPGRADING, Upgraded, Upgrading};

/// Who is told what comes of it.
#[derive(Debug)]
pub enum Asker {
    /// Somebody who has called on the path, and its process id.
    Caller(Box<Channel>, u32),
    /// Nobody: it was the signal of this name.
    Signal(&'static str),
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(_, pid) => write!(f, "pid {pid}"),
            Self::Signal(name) => f.write_str(name),
        }
    }
}

impl Asker {
    /// Tells how far it is.
    pub fn tell(&mut self, upgrading: &Upgrading) {
        if let Self::Caller(channel, _) = self {
            // Whoever has left hears nothing of it, and the upgrade goes on.
            let _ = channel.try_send(&frame::encode(UPGRADING, upgrading), &[]);
        }
    }

    /// Tells what has come of it. Who has left needs no answer.
    pub fn answer(self, upgraded: &Upgraded) {
        if let Self::Caller(channel, _) = self {
            channel.close_with(&frame::encode(UPGRADED, upgraded));
        }
    }
}
