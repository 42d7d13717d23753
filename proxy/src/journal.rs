//! Where the access log goes: to standard output, which no connection waits for.

use log::warn;
use reactord_cli::output::Output;

use crate::access_log::{Ended, line};
use crate::config::AccessLog;

/// The access log.
#[derive(Debug)]
pub struct Journal {
    form: AccessLog,
    output: Output,
    /// How many lines could not be written since that was last said.
    dropped: u64,
}

impl Journal {
    /// Lines of this form to standard output.
    #[must_use]
    pub fn new(form: AccessLog) -> Self {
        Self { form, output: Output::standard(), dropped: 0 }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.form == AccessLog::Off
    }

    /// Writes the line of a connection that has ended, if standard output takes it at once.
    pub fn write(&mut self, ended: &Ended<'_>) {
        let Some(line) = line(self.form, ended) else { return };
        if self.output.try_write(&(line + "\n")) {
            self.say_dropped();
        } else {
            self.dropped += 1;
        }
    }

    fn say_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            warn!("{dropped} lines of the access log dropped: standard output could not take them");
        }
    }
}
