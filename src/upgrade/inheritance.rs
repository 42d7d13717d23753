//! What a successor finds in its environment that its predecessor has started.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use log::warn;
use reactord_process::inherited;
use reactord_process::words::PREDECESSOR_VARIABLE;
use rustix::stdio::dup2_stderr;

/// The environment variable with the number of the upgrade.
pub(crate) const UPGRADE_VARIABLE: &str = "REACTORD_UPGRADE";

/// The environment variable with the number of the descriptor that is standard error for whoever serves.
pub(crate) const STANDARD_ERROR_VARIABLE: &str = "REACTORD_STANDARD_ERROR";

/// The environment variable that says that the process is to follow, as a standby.
pub(crate) const FOLLOWS_VARIABLE: &str = "REACTORD_FOLLOWS";

/// What a process is told that a server has started to take over from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    path: PathBuf,
    upgrade: Option<u64>,
    standard_error: Option<RawFd>,
    follows: bool,
}

impl Inheritance {
    /// What the environment says. `None` if no server has started this process to take over from it.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<Self> {
        let number = |name| variable(name).and_then(|number| number.into_string().ok());
        Some(Self {
            path: variable(PREDECESSOR_VARIABLE)?.into(),
            upgrade: number(UPGRADE_VARIABLE).and_then(|number| number.parse().ok()),
            standard_error: number(STANDARD_ERROR_VARIABLE).and_then(|number| number.parse().ok()),
            follows: variable(FOLLOWS_VARIABLE).is_some(),
        })
    }

    /// The takeover path of the predecessor.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the upgrade.
    pub(crate) fn upgrade(&self) -> Option<u64> {
        self.upgrade
    }

    /// Whether this process is a standby: it takes over when the predecessor has died.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// The number of the descriptor to which the predecessor passes on what this process writes to standard error, until it
    /// serves. `None`: it is this process's own already.
    #[must_use]
    pub fn standard_error(&self) -> Option<RawFd> {
        self.standard_error
    }

    /// This process serves from now on: its standard error, which the predecessor has heard until now, is what the
    /// predecessor's is. Returns whether it is another one with that.
    pub fn serves(&self) -> bool {
        let Some(number) = self.standard_error else { return false };
        match inherited::take(number).and_then(|standard_error| Ok(dup2_stderr(standard_error)?)) {
            Ok(()) => true,
            Err(error) => {
                warn!("Standard error ends with the predecessor: descriptor {number}: {error}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_no_server_has_started_inherits_nothing() {
        assert_eq!(Inheritance::from_variables(|_| None), None);
        let inherited = Inheritance::from_variables(|name| (name == PREDECESSOR_VARIABLE).then(|| "/p".into()));
        let alone = Inheritance { path: "/p".into(), upgrade: None, standard_error: None, follows: false };
        assert_eq!(inherited, Some(alone));
        let of = |name: &str| Some(if name == PREDECESSOR_VARIABLE { "/p" } else { "7" }.into());
        let told = Inheritance { path: "/p".into(), upgrade: Some(7), standard_error: Some(7), follows: true };
        assert_eq!(Inheritance::from_variables(of), Some(told));
    }
}
