//! The commands of the daemon that serve nobody: they ask a server that does.

mod peers;
mod status;

use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use log::error;
use reactord::{LogLevels, Offer, Upgraded, Upgrading, move_peers, set_log_level, upgrade};
use reactord_cli::complain;

use crate::beside::successor_of_proxy;
use crate::options::{Check, LogOf, Move, UpgradeOf};
use reactord::program::{EXIT_TAKEOVER, fail};

pub(crate) use peers::say_peers;
pub(crate) use status::say_status;

/// Has one server move peers to another, and says what came of it.
pub(crate) fn move_and_say(request: Move) -> ExitCode {
    match move_peers(&request.from, &request.to, request.which) {
        Ok(moved) => {
            reactord_cli::say(&format!("{moved}\n"));
            match moved.why {
                None => ExitCode::SUCCESS,
                Some(why) => {
                    error!("{why}");
                    ExitCode::from(EXIT_TAKEOVER)
                }
            }
        }
        Err(error) => fail(&error),
    }
}

/// Has a server log another level.
pub(crate) fn set_log_and_say(LogOf { path, level }: &LogOf) -> ExitCode {
    match set_log_level(path, *level) {
        Ok(LogLevels { before, level, pid, .. }) => {
            reactord_cli::say(&format!("pid {pid} logs {level}, {before} before\n"));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Has a server start its successor, and says what came of it.
pub(crate) fn upgrade_and_say(UpgradeOf { path, upgrade: wanted }: &UpgradeOf) -> ExitCode {
    let mut line = Redrawn::on_terminal();
    let upgraded = upgrade(path, wanted, |upgrading| line.draw(&how_far(upgrading)));
    line.clear();
    match upgraded {
        Ok(upgraded @ (Upgraded::HandedOver { .. } | Upgraded::Replaced { .. })) => {
            reactord_cli::say(&format!("{upgraded}\n"));
            ExitCode::SUCCESS
        }
        Ok(upgraded) => {
            if let Upgraded::Failed { said, .. } = &upgraded {
                said.lines().for_each(|line| complain(&format!("  {}", line.escape_debug())));
            }
            complain(&upgraded.to_string());
            ExitCode::from(EXIT_TAKEOVER)
        }
        Err(error) => fail(&error),
    }
}

fn how_far(Upgrading { pid, copied, peers, .. }: Upgrading) -> String {
    match copied {
        Some(copied) => format!("pid {pid}: {copied} of {peers} peers copied"),
        None => format!("pid {pid} has started"),
    }
}

/// Says whether a server could be taken over by this program, or by another.
pub(crate) fn check_and_say(Check { path, binary }: &Check, offers: &[Offer]) -> ExitCode {
    if let Some(binary) = binary.clone().or_else(|| successor_of_proxy(path)) {
        // It answers in this process's place, and with its exit code.
        let error = Command::new(&binary).arg("check").arg(path).exec();
        complain(&format!("{}: {error}", binary.display()));
        return ExitCode::from(EXIT_TAKEOVER);
    }
    match reactord::check(path, offers) {
        Ok(checked) if checked.why.is_none() => {
            reactord_cli::say(&format!("{checked}\n"));
            ExitCode::SUCCESS
        }
        Ok(checked) => {
            complain(&checked.to_string());
            ExitCode::from(EXIT_TAKEOVER)
        }
        Err(error) => fail(&error),
    }
}

/// A line on a terminal that is written again and again in its place.
struct Redrawn {
    is_on_terminal: bool,
}

impl Redrawn {
    fn on_terminal() -> Self {
        Self { is_on_terminal: std::io::stderr().is_terminal() }
    }

    fn draw(&mut self, line: &str) {
        if self.is_on_terminal {
            // What is only shown may be lost.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }

    fn clear(&mut self) {
        self.draw("");
    }
}
