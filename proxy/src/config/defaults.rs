//! What holds for all listeners and upstreams that say nothing else.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::keys;
use crate::config::model::{Balance, Check, Eject, OnDown, OnRemoved, Queue};
use crate::config::reading::{Section, text};
use crate::config::values::{duration, duration_of, duration_or_never, kernel_duration, one_of};

/// More than any machine has descriptors for.
pub(super) const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000_000;

/// More often than that it is a storm.
const RETRIES: RangeInclusive<u32> = 0..=100;

/// How often something happens in a row.
const IN_A_ROW: RangeInclusive<u32> = 1..=1_000;

/// What is said in a check, and what is looked at of the answer.
const CHECK_BYTES_MAX: usize = 4096;

/// What `TCP_KEEPIDLE` may be (tcp(7)).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));

/// What `TCP_USER_TIMEOUT` may be (tcp(7)): milliseconds, in an int.
const USER_TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(i32::MAX as u64));

/// What listeners may have said for all of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ForListeners {
    pub(super) max_connections: Option<u32>,
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) half_close_timeout: Option<Duration>,
    pub(super) user_timeout: Option<Duration>,
    pub(super) keepalive: Option<Duration>,
}

impl Default for ForListeners {
    fn default() -> Self {
        Self {
            max_connections: None,
            header_timeout: Duration::from_secs(10),
            // Others cut at 50 seconds, 10 minutes, an hour, which is what their users complain of most.
            idle_timeout: None,
            half_close_timeout: Some(Duration::from_secs(60 * 60)),
            // With it, the kernel also gives up on who is there and does not read for so long.
            user_timeout: None,
            keepalive: Some(Duration::from_secs(60)),
        }
    }
}

impl ForListeners {
    /// What a section says, and where it says nothing, these.
    pub(super) fn overridden(&self, section: &Section<'_, '_>) -> Self {
        let kernel = |(min, max)| move |value: &DeValue<'_>| kernel_duration(value, min, max);
        Self {
            max_connections: section.count("max_connections", CONNECTIONS).or(self.max_connections),
            header_timeout: section.read("header_timeout", duration).unwrap_or(self.header_timeout),
            idle_timeout: section.read("idle_timeout", duration_or_never).unwrap_or(self.idle_timeout),
            half_close_timeout: section
                .read("half_close_timeout", duration_or_never)
                .unwrap_or(self.half_close_timeout),
            user_timeout: section.read("user_timeout", kernel(USER_TIMEOUT)).unwrap_or(self.user_timeout),
            keepalive: section.read("keepalive", kernel(KEEPALIVE)).unwrap_or(self.keepalive),
        }
    }
}

/// What upstreams may have said for all of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ForUpstreams {
    pub(super) balance: Balance,
    pub(super) check: Option<Check>,
    pub(super) eject: Option<Eject>,
    pub(super) queue: Option<Queue>,
    pub(super) on_down: OnDown,
    pub(super) connect_timeout: Duration,
    pub(super) retries: u32,
}

impl Default for ForUpstreams {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            check: None,
            eject: None,
            queue: None,
            on_down: OnDown::default(),
            connect_timeout: Duration::from_secs(5),
            retries: 3,
        }
    }
}

impl ForUpstreams {
    /// What a section says, and where it says nothing, these.
    pub(super) fn overridden(&self, section: &Section<'_, '_>) -> Self {
        Self {
            balance: section.text("balance", balance).unwrap_or(self.balance),
            check: switched(section, "check", read_check).unwrap_or_else(|| self.check.clone()),
            eject: switched(section, "eject", read_eject).unwrap_or(self.eject),
            queue: switched(section, "queue", read_queue).unwrap_or(self.queue),
            on_down: section.text("on_down", on_down).unwrap_or(self.on_down),
            connect_timeout: section.read("connect_timeout", duration).unwrap_or(self.connect_timeout),
            retries: section.count("retries", RETRIES).unwrap_or(self.retries),
        }
    }
}

/// What a table says, or that it is switched off, if either is there.
fn switched<'a, 'i, T>(
    section: &Section<'a, 'i>,
    key: &'static str,
    read: impl FnOnce(&Section<'a, 'i>, &'static str) -> Option<T>,
) -> Option<Option<T>> {
    let value = section.value(key)?;
    if value.get_ref().as_str() == Some("off") { Some(None) } else { read(section, key).map(Some) }
}

fn read_check(section: &Section<'_, '_>, key: &'static str) -> Option<Check> {
    let section = section.section(key, &keys::CHECK)?;
    let every = section.read("every", duration).unwrap_or(Duration::from_secs(2));
    let said = |key| section.text(key, |text| checked_words(text).map(str::to_owned));
    let check = Check {
        every,
        within: section.read("within", duration).unwrap_or(every.min(Duration::from_secs(1))),
        rise: section.count("rise", IN_A_ROW).unwrap_or(2),
        fall: section.count("fall", IN_A_ROW).unwrap_or(3),
        send: said("send"),
        expect: said("expect"),
    };
    if check.within > check.every {
        let Check { every, within, .. } = check;
        section.note_at("within", format!("a check may take {within:?}, and the next one begins after {every:?}"));
    }
    Some(check)
}

fn checked_words(text: &str) -> Result<&str, String> {
    match text.len() {
        0 => Err("nothing is said with \"\"".to_owned()),
        bytes if bytes > CHECK_BYTES_MAX => Err(format!("{bytes} bytes are more than a check has, {CHECK_BYTES_MAX}")),
        _ => Ok(text),
    }
}

fn read_eject(section: &Section<'_, '_>, key: &'static str) -> Option<Eject> {
    let section = section.section(key, &keys::EJECT)?;
    Some(Eject {
        failures: section.count("failures", IN_A_ROW).unwrap_or(5),
        period: section.read("for", duration).unwrap_or(Duration::from_secs(30)),
    })
}

fn read_queue(section: &Section<'_, '_>, key: &'static str) -> Option<Queue> {
    let section = section.section(key, &keys::QUEUE)?;
    Some(Queue {
        max: section.count("max", CONNECTIONS).unwrap_or(1_000),
        within: section.read("within", duration).unwrap_or(Duration::from_secs(10)),
    })
}

fn balance(word: &str) -> Result<Balance, String> {
    let words = [
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("random-two", Balance::RandomTwo),
        ("source-hash", Balance::SourceHash),
    ];
    one_of(&words, word)
}

fn on_down(word: &str) -> Result<OnDown, String> {
    one_of(&[("keep", OnDown::Keep), ("close", OnDown::Close)], word)
}

/// What becomes of connections whose listener or server is gone.
pub(super) fn on_removed(value: &DeValue<'_>) -> Result<OnRemoved, String> {
    let word = text(value)?;
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        return duration_of(word).map(OnRemoved::CloseAfter);
    }
    let known = one_of(&[("keep", OnRemoved::Keep), ("close", OnRemoved::Close)], word);
    known.map_err(|what| match what.strip_suffix(" is expected") {
        Some(what) => format!("{what}, or after how long they are closed, such as \"10m\", is expected"),
        None => what,
    })
}
