//! What is asked of a proxy that runs, from a process that serves nobody.

use std::path::Path;
use std::process::ExitCode;

use reactord::program::{EXIT_TAKEOVER, fail};
use reactord::{AskError, Offer, ask};
use reactord_cli::{complain, say};
use reactord_proxy::service::NAME;
use reactord_proxy::words::Question;

use crate::options::Asked;

/// Asks, and says what is answered.
pub(crate) fn ask_and_say(path: &Path, what: &Asked) -> ExitCode {
    let said = match what {
        Asked::Question(question) => put(path, question).map(|answer| say(&answer)),
        Asked::Servers => say_all(path, |from| Question::Servers { from }),
        Asked::Connections => say_all(path, |after| Question::Connections { after }),
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn put(path: &Path, question: &Question) -> Result<String, AskError> {
    ask(path, NAME, question.text().as_bytes()).map(|answer| String::from_utf8_lossy(&answer).into_owned())
}

/// Asks for some after the others, so that no answer holds up the proxy, or is longer than may be.
fn say_all(path: &Path, question: impl Fn(u64) -> Question) -> Result<(), AskError> {
    let mut at = 0;
    loop {
        let answer = put(path, &question(at))?;
        let (told, next) = told_and_next(&answer);
        say(told);
        match next {
            Some(next) if next > at => at = next,
            _ => return Ok(()),
        }
    }
}

/// What an answer tells, and from where on the rest is to be asked for, if there is more. A server may be called `more`.
fn told_and_next(answer: &str) -> (&str, Option<u64>) {
    let Some((told, next)) = answer.rsplit_once("more ") else { return (answer, None) };
    match next.trim_end().parse() {
        Ok(next) if told.is_empty() || told.ends_with('\n') => (told, Some(next)),
        _ => (answer, None),
    }
}

/// Says whether this program could take over.
pub(crate) fn check_and_say(path: &Path, offers: &[Offer]) -> ExitCode {
    match reactord::check(path, offers) {
        Ok(checked) if checked.why.is_none() => {
            say(&format!("{checked}\n"));
            ExitCode::SUCCESS
        }
        Ok(checked) => {
            complain(&checked.to_string());
            ExitCode::from(EXIT_TAKEOVER)
        }
        Err(error) => fail(&error),
    }
}
