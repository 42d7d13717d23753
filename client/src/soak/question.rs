//! What a soak has asked of its server by a command, and what that has said until it ended.

use std::process::ExitStatus;

use super::succession::Number;
use super::summary::Standing;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// That it starts its successor.
    Upgrade,
    /// How it stands.
    Standing,
}

/// A command that has not ended yet.
#[derive(Debug)]
pub(crate) struct Question {
    /// The process that asks.
    pub(crate) asker: Number,
    pub(crate) about: About,
    last_line: String,
}

impl Question {
    pub(crate) fn new(asker: Number, about: About) -> Self {
        Self { asker, about, last_line: String::new() }
    }

    /// It has said this.
    pub(crate) fn hear(&mut self, line: String) {
        self.last_line = line;
    }

    /// What it has said last.
    pub(crate) fn answer(&self) -> &str {
        &self.last_line
    }

    /// How the server stands, if that is what was asked.
    ///
    /// # Errors
    /// If it has not answered that: what it has said.
    pub(crate) fn standing(&self, status: ExitStatus) -> Result<Standing, String> {
        let standing = Standing::of_json(&self.last_line).filter(|_| status.success());
        standing.ok_or_else(|| format!("the server does not say how it stands: {status}; {}", self.last_line))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_a_command_that_has_succeeded_has_answered() {
        let mut question = Question::new(3, About::Standing);
        question.hear("a warning".to_owned());
        assert!(question.standing(ExitStatus::from_raw(0)).unwrap_err().ends_with("; a warning"));
        question.hear(r#"{"pid":7}"#.to_owned());
        assert_eq!(question.standing(ExitStatus::from_raw(0)).unwrap().pid, 7);
        assert!(question.standing(ExitStatus::from_raw(3 << 8)).is_err());
    }
}
