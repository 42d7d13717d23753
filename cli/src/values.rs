//! What the daemon's options may have for values: each either becomes what it stands for, or is refused with what would
//! be allowed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::line::Format;

/// More than any machine has descriptors for.
const COUNT_MAX: usize = 1_000_000_000;

/// One hour.
const MILLISECONDS_MAX: u64 = 3_600_000;

/// An address to listen on.
///
/// # Errors
/// If it is none.
pub fn address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| "an IPv4 or IPv6 address is expected, such as 127.0.0.1 or ::1".to_owned())
}

/// An address to listen on, with its port.
///
/// # Errors
/// If it is none.
pub fn address_and_port(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| "an address with its port is expected, such as 127.0.0.1:9100 or [::1]:9100".to_owned())
}

/// A port to listen on.
///
/// # Errors
/// If it is none.
pub fn port(value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("a port from 0 to {} is expected", u16::MAX))
}

/// What log lines look like.
///
/// # Errors
/// If it is neither text nor json.
pub fn log_format(value: &str) -> Result<Format, String> {
    match value {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("text or json is expected".to_owned()),
    }
}

/// How many connections may wait in the kernel.
///
/// # Errors
/// As [`count`].
pub fn backlog(value: &str) -> Result<u32, String> {
    count(value).map(|count| u32::try_from(count).expect("COUNT_MAX has 32 bits"))
}

/// A number of things that take a descriptor each.
///
/// # Errors
/// If it is none from 1 to a billion.
pub fn count(value: &str) -> Result<usize, String> {
    number(value, COUNT_MAX)
}

/// A number from 1 to `max`.
///
/// # Errors
/// If it is none.
pub fn number(value: &str, max: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {max} is expected"))
}

/// A time-out of up to an hour.
///
/// # Errors
/// If it is none.
pub fn milliseconds(value: &str) -> Result<Duration, String> {
    let milliseconds = value.parse().ok().filter(|milliseconds| (1..=MILLISECONDS_MAX).contains(milliseconds));
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| format!("milliseconds from 1 to {MILLISECONDS_MAX} are expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_what_is_allowed_are_allowed_and_nothing_beyond() {
        assert_eq!((count("1"), count("1000000000")), (Ok(1), Ok(COUNT_MAX)));
        assert_eq!(milliseconds("3600000"), Ok(Duration::from_secs(3600)));
        for refused in [count("0"), count("1000000001"), count("x"), number("5", 4)] {
            assert!(refused.unwrap_err().starts_with("a number from 1 to "));
        }
        for value in ["0", "3600001", "1s"] {
            assert_eq!(milliseconds(value), Err("milliseconds from 1 to 3600000 are expected".to_owned()));
        }
    }
}
