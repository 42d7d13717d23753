//! The values that options of every command take, each with what is allowed.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// No machine has more connections than this to offer; it keeps the sum of three counts from overflowing.
const COUNT_MAX: usize = 100_000_000;

pub(crate) fn count(value: &str) -> Result<usize, String> {
    whole_number(value, 0, COUNT_MAX)
}

pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    seconds(value)
        .filter(|duration| !duration.is_zero())
        .ok_or("a number of seconds above 0 is expected, such as 60 or 0.5".to_owned())
}

pub(crate) fn drain(value: &str) -> Result<Duration, String> {
    seconds(value).ok_or("a number of seconds from 0 up is expected, such as 10 or 0.5".to_owned())
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

pub(crate) fn whole_number<T: FromStr + PartialOrd + Display>(value: &str, min: T, max: T) -> Result<T, String> {
    match value.parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(format!("a whole number from {min} to {max} is expected")),
    }
}
