//! Which commands there are, and how many words each may have.

use std::ops::RangeInclusive;

use super::session::Verb;

/// How many words follow the name of a command that is executed as a whole.
pub(crate) const ARGUMENTS_MAX: usize = 8;

/// How a command is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// When all of its words are there.
    Whole(Whole),
    /// Word by word, as they come. So no command is too long, and none keeps others waiting.
    Each(Verb),
}

/// A command that is executed when all of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// Adds, once or so many times.
    Add {
        sign: i64,
    },
    Client,
    Command,
    ConfigGet,
    DbSize,
    Echo,
    Expire {
        unit_ms: u64,
    },
    FlushAll,
    Get,
    Hello,
    Info,
    Persist,
    Ping,
    Publish,
    Quit,
    Select,
    Set,
    Ttl {
        unit_ms: u64,
    },
    UnsubscribeAll,
}

/// Finds a command by its name, for whatever case it is written in, and with how many arguments it goes.
pub(crate) fn find(name: &[u8], arguments: usize) -> Result<Way, String> {
    let mut upper = [0; 16];
    let way = upper.get_mut(..name.len()).and_then(|upper| {
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        by_name(upper)
    });
    let Some((way, allowed)) = way else {
        return Err(format!("unknown command '{}'", name.escape_ascii()));
    };
    // Those that set several need their pairs whole.
    if !allowed.contains(&arguments) || (way == Way::Each(Verb::SetEach) && arguments % 2 == 1) {
        return Err(format!("wrong number of arguments for '{}' command", name.to_ascii_lowercase().escape_ascii()));
    }
    match way {
        Way::Each(Verb::Unsubscribe) if arguments == 0 => Ok(Way::Whole(Whole::UnsubscribeAll)),
        way => Ok(way),
    }
}

fn by_name(name: &[u8]) -> Option<(Way, RangeInclusive<usize>)> {
    const ANY: RangeInclusive<usize> = 0..=ARGUMENTS_MAX;
    const SOME: RangeInclusive<usize> = 1..=usize::MAX;
    let whole = |whole, arguments| (Way::Whole(whole), arguments);
    let each = |verb, arguments| (Way::Each(verb), arguments);
    Some(match name {
        b"CLIENT" => whole(Whole::Client, ANY),
        b"COMMAND" => whole(Whole::Command, ANY),
        b"CONFIG" => whole(Whole::ConfigGet, 2..=2),
        b"DBSIZE" => whole(Whole::DbSize, 0..=0),
        b"DECR" => whole(Whole::Add { sign: -1 }, 1..=1),
        b"DECRBY" => whole(Whole::Add { sign: -1 }, 2..=2),
        b"DEL" | b"UNLINK" => each(Verb::Delete, SOME),
        b"ECHO" => whole(Whole::Echo, 1..=1),
        b"EXISTS" => each(Verb::Exists, SOME),
        b"EXPIRE" => whole(Whole::Expire { unit_ms: 1000 }, 2..=2),
        b"FLUSHALL" | b"FLUSHDB" => whole(Whole::FlushAll, 0..=1),
        b"GET" => whole(Whole::Get, 1..=1),
        b"HELLO" => whole(Whole::Hello, ANY),
        b"INCR" => whole(Whole::Add { sign: 1 }, 1..=1),
        b"INCRBY" => whole(Whole::Add { sign: 1 }, 2..=2),
        b"INFO" => whole(Whole::Info, ANY),
        b"MGET" => each(Verb::GetEach, SOME),
        b"MSET" => each(Verb::SetEach, SOME),
        b"PERSIST" => whole(Whole::Persist, 1..=1),
        b"PEXPIRE" => whole(Whole::Expire { unit_ms: 1 }, 2..=2),
        b"PING" => whole(Whole::Ping, 0..=1),
        b"PTTL" => whole(Whole::Ttl { unit_ms: 1 }, 1..=1),
        b"PUBLISH" => whole(Whole::Publish, 2..=2),
        b"QUIT" => whole(Whole::Quit, 0..=0),
        b"SELECT" => whole(Whole::Select, 1..=1),
        b"SET" => whole(Whole::Set, 2..=ARGUMENTS_MAX),
        b"SUBSCRIBE" => each(Verb::Subscribe, SOME),
        b"TTL" => whole(Whole::Ttl { unit_ms: 1000 }, 1..=1),
        b"UNSUBSCRIBE" => each(Verb::Unsubscribe, 0..=usize::MAX),
        _ => return None,
    })
}

/// What `SET` is asked for besides setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetOptions {
    pub(crate) expires: Option<Expires>,
    /// Only if there is a value already, or only if there is none.
    pub(crate) if_exists: Option<bool>,
}

/// When a value expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expires {
    AfterMs(u64),
    /// As the value before it would have.
    AsBefore,
}

impl SetOptions {
    /// # Errors
    /// What the client is told if it is asked for something else.
    pub(crate) fn parse(mut words: &[&[u8]]) -> Result<Self, &'static str> {
        let mut options = Self::default();
        loop {
            let (option, rest) = match words {
                [] => return Ok(options),
                [option, rest @ ..] => (option.to_ascii_uppercase(), rest),
            };
            words = rest;
            match (&option[..], rest) {
                (b"NX", _) if options.if_exists.is_none() => options.if_exists = Some(false),
                (b"XX", _) if options.if_exists.is_none() => options.if_exists = Some(true),
                (b"KEEPTTL", _) if options.expires.is_none() => options.expires = Some(Expires::AsBefore),
                (b"EX" | b"PX", [time, rest @ ..]) if options.expires.is_none() => {
                    let unit_ms = if option == b"EX" { 1000 } else { 1 };
                    let after_ms = number(time).ok_or(NOT_AN_INTEGER)?.checked_mul(unit_ms).filter(|after| *after > 0);
                    let after_ms = after_ms.ok_or("invalid expire time in 'set' command")?;
                    options.expires = Some(Expires::AfterMs(after_ms.unsigned_abs()));
                    words = rest;
                }
                _ => return Err("syntax error"),
            }
        }
    }
}

/// What the client is told of a word that should be a number.
pub(crate) const NOT_AN_INTEGER: &str = "value is not an integer or out of range";

pub(crate) fn number(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_in_any_case_with_as_many_words_as_it_has() {
        assert_eq!(find(b"get", 1), Ok(Way::Whole(Whole::Get)));
        assert_eq!(find(b"Del", 800_000), Ok(Way::Each(Verb::Delete)));
        assert_eq!(find(b"unsubscribe", 0), Ok(Way::Whole(Whole::UnsubscribeAll)));
        assert_eq!(find(b"GET", 2), Err("wrong number of arguments for 'get' command".into()));
        assert_eq!(find(b"MSET", 3), Err("wrong number of arguments for 'mset' command".into()));
        assert_eq!(find(b"no\n", 0), Err("unknown command 'no\\n'".into()));
        assert!(find(&[b'a'; 100], 0).is_err());
    }

    #[test]
    fn what_set_is_asked_for_is_found_in_any_order_and_once() {
        let parse = |words: &str| SetOptions::parse(&words.split_whitespace().map(str::as_bytes).collect::<Vec<_>>());
        let after = |after_ms| Some(Expires::AfterMs(after_ms));
        assert_eq!(parse(""), Ok(SetOptions::default()));
        assert_eq!(parse("nx ex 2"), Ok(SetOptions { expires: after(2000), if_exists: Some(false) }));
        assert_eq!(parse("PX 5 XX"), Ok(SetOptions { expires: after(5), if_exists: Some(true) }));
        assert_eq!(parse("KEEPTTL"), Ok(SetOptions { expires: Some(Expires::AsBefore), if_exists: None }));
        for wrong in ["EX", "NX XX", "EX 1 PX 1", "EX 1 KEEPTTL", "GET"] {
            assert_eq!(parse(wrong), Err("syntax error"), "{wrong}");
        }
        assert_eq!(parse("EX x"), Err(NOT_AN_INTEGER));
        for never in ["EX 0", "PX -1", "EX 9223372036854775807"] {
            assert_eq!(parse(never), Err("invalid expire time in 'set' command"), "{never}");
        }
    }
}
