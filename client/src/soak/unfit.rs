//! Successors that cannot take over, each in its own way, and what whoever asked for them is to be told.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// In which way a successor cannot take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    ExitsAtOnce,
    ExitsAfterAWhile,
    NeverServes,
    RefusesItsCommandLine,
    DiesInTheCopy,
}

/// What an upgrade that has come to nothing leaves with.
const EXIT_TAKEOVER: i32 = 3;

impl Unfit {
    pub(crate) const ALL: [Self; 5] = [
        Self::ExitsAtOnce,
        Self::ExitsAfterAWhile,
        Self::NeverServes,
        Self::RefusesItsCommandLine,
        Self::DiesInTheCopy,
    ];

    /// What it is called in the table and the figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExitsAtOnce => "exits at once",
            Self::ExitsAfterAWhile => "exits after a while",
            Self::NeverServes => "never serves",
            Self::RefusesItsCommandLine => "refuses its command line",
            Self::DiesInTheCopy => "dies in the copy",
        }
    }

    /// What a shell does in its place, where it is not the server itself.
    fn script(self) -> Option<&'static str> {
        match self {
            Self::ExitsAtOnce => Some("echo 'this release is broken' >&2\nexit 7\n"),
            Self::ExitsAfterAWhile => Some("sleep 0.3\nexit 8\n"),
            Self::NeverServes => Some("exec sleep 60\n"),
            Self::RefusesItsCommandLine | Self::DiesInTheCopy => None,
        }
    }

    fn program(self, directory: &Path) -> PathBuf {
        directory.join(format!("successor that {}", self.name()))
    }

    /// Writes those that are scripts.
    pub(crate) fn write_all(directory: &Path) -> io::Result<()> {
        for (unfit, script) in Self::ALL.into_iter().filter_map(|unfit| Some((unfit, unfit.script()?))) {
            let mut file = fs::OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o700).open(unfit.program(directory))?;
            file.write_all(format!("#!/bin/sh\n{script}").as_bytes())?;
        }
        Ok(())
    }

    /// What `reactord upgrade` is told, besides the path, to have it started.
    pub(crate) fn arguments(self, directory: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.script().is_some() {
            arguments.extend(["--binary".into(), self.program(directory).into()]);
        }
        match self {
            Self::NeverServes => arguments.extend(["--timeout".into(), "1".into()]),
            Self::RefusesItsCommandLine => arguments.extend(["--".into(), "--no-such-option".into()]),
            _ => {}
        }
        arguments
    }

    /// What the reason is to say.
    fn reason(self) -> &'static str {
        match self {
            Self::ExitsAtOnce => "exited with code 7 before it took over",
            Self::ExitsAfterAWhile => "exited with code 8 before it took over",
            Self::NeverServes => "has not taken over within 1000 ms, and was killed",
            Self::RefusesItsCommandLine => "exited with code 2 before it took over",
            Self::DiesInTheCopy => "was killed by SIGKILL before it took over",
        }
    }

    /// Whether this is the answer to it: the exit code, and the last line. If not, what is wrong with it.
    pub(crate) fn judge(self, code: Option<i32>, line: &str) -> Result<(), String> {
        let (name, reason) = (self.name(), self.reason());
        let is_answer = line.starts_with("failed: ") && line.contains(reason) && line.ends_with(" serves on");
        if code == Some(EXIT_TAKEOVER) && is_answer {
            return Ok(());
        }
        let left = code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        Err(format!("{EXIT_TAKEOVER} and \"{reason}\" were expected of a successor that {name}: {left}, {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_exit_code_and_the_reason() {
        let good = "failed: the successor (pid 7) exited with code 7 before it took over; 0.2.0 (pid 1) serves on";
        assert_eq!(Unfit::ExitsAtOnce.judge(Some(3), good), Ok(()));
        for (unfit, code, line) in [
            (Unfit::ExitsAtOnce, Some(0), good),
            (Unfit::ExitsAtOnce, None, good),
            (Unfit::ExitsAfterAWhile, Some(3), good),
            (Unfit::ExitsAtOnce, Some(3), "failed: the successor (pid 7) exited with code 7 before it took over"),
        ] {
            let wrong = unfit.judge(code, line).unwrap_err();
            assert!(wrong.contains(unfit.name()) && wrong.ends_with(line), "{wrong}");
        }
    }

    #[test]
    fn scripts_are_there_to_be_executed() {
        let directory = tempfile::tempdir().unwrap();
        Unfit::write_all(directory.path()).unwrap();
        for unfit in Unfit::ALL {
            let arguments = unfit.arguments(directory.path());
            let binary = arguments.iter().skip_while(|argument| *argument != "--binary").nth(1);
            assert_eq!(binary.is_some(), unfit.script().is_some());
            assert!(binary.is_none_or(|binary| Path::new(binary).is_file()));
        }
    }
}
