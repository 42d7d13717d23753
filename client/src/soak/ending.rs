//! How a soak ends, whatever was done to its servers: a last exchange on every connection, a look at what is left, and the last words.

use std::io;
use std::time::{Duration, Instant};

use log::info;

use super::progress::Progress;
use crate::course;
use crate::load::Load;

/// A soak, as far as its end goes.
pub(crate) trait Ending {
    /// One turn of the load, which ends at `wake_by` at the latest, and of all that goes on beside it.
    fn turn(&mut self, load: &mut Load, wake_by: Option<Instant>) -> io::Result<()>;

    /// Whether no server has died that should not have.
    fn is_served(&self) -> bool;

    fn progress(&mut self) -> &mut Progress;

    /// How long may be waited for what is due.
    fn limit(&self) -> Duration;

    /// Looks at what is left when all has been answered.
    fn look_at_the_end(&mut self, load: &Load) -> io::Result<()>;

    /// Comes to the end.
    fn drain(&mut self, load: &mut Load) -> io::Result<()> {
        if !self.is_served() {
            return Ok(());
        }
        self.progress().finish();
        info!("Checking every connection with a last exchange");
        let limit = self.limit();
        course::drain(load, limit, |load, deadline| self.turn_while_served(load, deadline))?;
        self.look_at_the_end(load)?;
        course::close(load, limit, |load, deadline| self.turn_while_served(load, deadline))
    }

    /// One turn, unless a server has died; says whether that was not so.
    fn turn_while_served(&mut self, load: &mut Load, deadline: Option<Instant>) -> io::Result<bool> {
        if self.is_served() {
            self.turn(load, deadline)?;
        }
        Ok(self.is_served())
    }
}
