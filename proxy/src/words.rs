//! What is asked of a proxy that runs, as text: a word, and what it is about.

/// So many connections are told of in one answer; whoever wants more goes on from there.
pub const CONNECTIONS_PER_ANSWER: usize = 500;

/// With so many bytes an answer is long enough.
pub const ANSWER_BYTES_MAX: usize = 48 * 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// That a server gets no more clients, and keeps those that it has.
    Drain(String),
    /// The same, and that its connections are cut.
    Close(String),
    /// That it gets clients again.
    Enable(String),
    /// How servers stand, in their order, from the one on that has this number in it.
    Servers {
        /// The first is 0.
        from: u64,
    },
    /// Who the clients are whose ids are above this.
    Connections {
        /// The last one that is known.
        after: u64,
    },
}

impl Question {
    /// The question as it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Drain(server) => format!("drain {server}"),
            Self::Close(server) => format!("close {server}"),
            Self::Enable(server) => format!("enable {server}"),
            Self::Servers { from } => format!("servers {from}"),
            Self::Connections { after } => format!("connections {after}"),
        }
    }

    /// The question that was sent.
    ///
    /// # Errors
    /// If it is none that this version knows.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "a question is a text".to_owned())?;
        let (word, about) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "drain" => Ok(Self::Drain(about.to_owned())),
            "close" => Ok(Self::Close(about.to_owned())),
            "enable" => Ok(Self::Enable(about.to_owned())),
            "servers" => {
                let from = about.parse().map_err(|_| "servers is asked from a number on".to_owned())?;
                Ok(Self::Servers { from })
            }
            "connections" => {
                let after = about.parse().map_err(|_| "connections is asked from an id on".to_owned())?;
                Ok(Self::Connections { after })
            }
            _ => Err(format!("this version does not know the question {}", word.escape_debug())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_understood_as_it_was_sent_and_nothing_else_is() {
        let server = || "pg/10.0.0.7:5432".to_owned();
        let questions = [
            Question::Drain(server()),
            Question::Close(server()),
            Question::Enable(server()),
            Question::Servers { from: 0 },
            Question::Connections { after: 7 },
        ];
        for question in questions {
            assert_eq!(Question::parse(question.text().as_bytes()), Ok(question));
        }
        for wrong in [&b"kill x"[..], b"", b"servers", b"connections x", b"\xff"] {
            assert!(Question::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
