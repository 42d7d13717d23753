//! How a soak ends, whatever was done to its servers: a last exchange on every connection, a look at what is left, and the last words.

use std::io;
use std::time::{Duration, Instant};

use log::info;
use mio::Token;

use super::progress::Progress;
use crate::course;
use crate::load::Load;

/// How far a soak has come.
pub(crate) struct Whereabouts<'s> {
    /// Whether no server has died that should not have.
    pub(crate) is_served: bool,
    pub(crate) progress: &'s mut Progress,
    /// How long may be waited for what is due.
    pub(crate) limit: Duration,
}

/// A soak, as far as its turns and its end go.
pub(crate) trait Ending {
    fn whereabouts(&mut self) -> Whereabouts<'_>;

    /// What is not of the load has happened.
    fn hear(&mut self, token: Token, load: &mut Load) -> io::Result<()>;

    /// The load has had its turn, and all that has happened beside it is heard.
    fn have_turned(&mut self, load: &mut Load) -> io::Result<()>;

    /// Looks at what is left when all has been answered.
    fn look_at_the_end(&mut self, load: &Load) -> io::Result<()>;

    /// One turn of the load, which ends at `wake_by` at the latest, and of all that goes on beside it.
    fn turn(&mut self, load: &mut Load, wake_by: Option<Instant>) -> io::Result<()> {
        let mut tokens = Vec::new();
        load.turn(wake_by, &mut |token| tokens.push(token))?;
        for token in tokens {
            self.hear(token, load)?;
        }
        self.have_turned(load)
    }

    /// Comes to the end.
    fn drain(&mut self, load: &mut Load) -> io::Result<()> {
        let Whereabouts { is_served, progress, limit } = self.whereabouts();
        if !is_served {
            return Ok(());
        }
        progress.finish();
        info!("Checking every connection with a last exchange");
        course::drain(load, limit, |load, deadline| self.turn_while_served(load, deadline))?;
        self.look_at_the_end(load)?;
        course::close(load, limit, |load, deadline| self.turn_while_served(load, deadline))
    }

    /// One turn, unless a server has died; says whether that was not so.
    fn turn_while_served(&mut self, load: &mut Load, deadline: Option<Instant>) -> io::Result<bool> {
        if self.whereabouts().is_served {
            self.turn(load, deadline)?;
        }
        Ok(self.whereabouts().is_served)
    }
}
