//! How a log record becomes a line: for a person, for a program, and for the journal, which gives a line its time itself.

use std::sync::LazyLock;

use log::{Level, Record};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

/// What a pipe takes whole or not at all (`PIPE_BUF`, pipe(7)). A longer line is cut.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// The most bytes that one byte of a text can become in JSON: `\u0000`.
const ESCAPE_BYTES_MAX: usize = 6;

static PID: LazyLock<u32> = LazyLock::new(std::process::id);

/// What lines look like. The system log has a format of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// For a person: time, level, module and text. The journal of systemd gets the module and the text.
    #[default]
    Text,
    /// One object a line, with `time` (RFC 3339, UTC, in ms), `level`, `target` (the module), `message` and `pid`.
    Json,
}

/// A record as a line, with its end. For the journal (`is_for_journal`), each line begins with its priority
/// (sd-daemon(3)), without which all would be information.
pub(crate) fn line(record: &Record, format: Format, is_for_journal: bool) -> String {
    let prefix = if is_for_journal { priority(record.level()) } else { "" };
    match format {
        Format::Json => json(record, prefix),
        Format::Text if is_for_journal => {
            let text = format!("[{}] {}", record.target(), record.args());
            // The journal takes what follows for a line of its own.
            cut(format!("{prefix}{}", text.replace('\n', &format!("\n{prefix}"))))
        }
        // As `simple_logger` writes it. That logger itself writes a line in pieces, between which other processes write
        // theirs.
        Format::Text => cut(format!("{} {:<5} [{}] {}", now(), record.level(), record.target(), record.args())),
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

fn cut(mut line: String) -> String {
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
    line.push('\n');
    line
}

/// An object that is whole also where its message has to be cut.
fn json(record: &Record, prefix: &str) -> String {
    let (time, mut message) = (now(), record.args().to_string());
    loop {
        let line = object(record, prefix, &time, &message);
        let Some(excess) = line.len().checked_sub(LINE_BYTES_MAX).filter(|excess| *excess > 0 && !message.is_empty())
        else {
            return line;
        };
        // Never more than is too much, so that as much is left as there is room for.
        let left = message.len().saturating_sub(excess.div_ceil(ESCAPE_BYTES_MAX));
        message.truncate(message.floor_char_boundary(left));
    }
}

fn object(record: &Record, prefix: &str, time: &str, message: &str) -> String {
    let (level, target, message) = (record.level(), Value::from(record.target()), Value::from(message));
    format!(
        "{prefix}{{\"time\":\"{time}\",\"level\":\"{level}\",\"target\":{target},\"message\":{message},\"pid\":{}}}\n",
        *PID
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(level: Level, text: &str, format: Format, is_for_journal: bool) -> String {
        line(
            &Record::builder().level(level).target("test").args(format_args!("{text}")).build(),
            format,
            is_for_journal,
        )
    }

    #[test]
    fn a_line_is_as_simple_logger_writes_it() {
        let line = line_of(Level::Info, "text", Format::Text, false);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), rest), ("2026-11-20T13:50:00.000Z".len(), "INFO  [test] text\n"));
    }

    #[test]
    fn a_line_for_the_journal_has_a_priority_and_no_time() {
        for (level, priority) in [
            (Level::Error, "<3>"),
            (Level::Warn, "<4>"),
            (Level::Info, "<6>"),
            (Level::Debug, "<7>"),
            (Level::Trace, "<7>"),
        ] {
            assert_eq!(line_of(level, "text", Format::Text, true), format!("{priority}[test] text\n"));
        }
        assert_eq!(line_of(Level::Error, "one\ntwo", Format::Text, true), "<3>[test] one\n<3>two\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        for is_for_journal in [false, true] {
            let line = line_of(Level::Info, &"ä".repeat(5000), Format::Text, is_for_journal);
            assert!((LINE_BYTES_MAX - 1..=LINE_BYTES_MAX).contains(&line.len()) && line.ends_with("ä\n"));
        }
    }

    #[test]
    fn an_object_is_one_line_whatever_is_in_the_message() {
        let text = "a \"peer\"\nsent \\ and \u{1b}[31m, ä";
        let line = line_of(Level::Warn, text, Format::Json, false);
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], text);
        assert_eq!((&object["level"], &object["target"]), (&"WARN".into(), &"test".into()));
        assert_eq!(object["pid"], std::process::id());
        assert!(object["time"].as_str().unwrap().ends_with('Z'));
        let keys = ["\"time\"", "\"level\"", "\"target\"", "\"message\"", "\"pid\""].map(|key| line.find(key).unwrap());
        assert!(keys.is_sorted());
    }

    #[test]
    fn an_object_that_is_too_long_is_whole_and_its_message_is_cut() {
        for letter in ["x", "ä", "\u{1}", "\""] {
            for is_for_journal in [false, true] {
                let line = line_of(Level::Info, &letter.repeat(9000), Format::Json, is_for_journal);
                assert!((LINE_BYTES_MAX - 8..=LINE_BYTES_MAX).contains(&line.len()), "{letter:?}: {}", line.len());
                let object: Value = serde_json::from_str(line.strip_prefix("<6>").unwrap_or(&line)).unwrap();
                assert!(object["message"].as_str().unwrap().starts_with(letter));
            }
        }
    }
}
