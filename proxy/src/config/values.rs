//! What strings of a file mean.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use reactord::Target;
use toml::de::DeValue;

use crate::config::keys::closest;
use crate::config::model::{At, HostPort, Rate};
use crate::config::reading::{text, unlike};

/// A year, after which nobody is there to notice.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// As long as the path of a Unix socket may be (unix(7)), with the zero byte at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What a name of a server is resolved by where the file does not say.
const RESOLVE_DEFAULT: Duration = Duration::from_secs(30);

/// What a unit of a duration lasts. None of two letters ends as one of one letter does that goes before it.
const UNITS: [(&str, Duration); 5] = [
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(60 * 60)),
    ("d", Duration::from_secs(24 * 60 * 60)),
];

/// One of these words, as what it stands for.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)], word: &str) -> Result<T, String> {
    if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
        return Ok(*meaning);
    }
    let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
    Err(match closest(word, &known) {
        Some(meant) => format!("{word:?} is unknown: did you mean {meant:?}?"),
        None => format!("{word:?} is unknown: {} is expected", alternatives(&known)),
    })
}

fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

/// A duration with its unit, as `"5s"`. It is not 0.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    if value.is_integer() || value.is_float() {
        return Err(format!("{}: a duration has a unit", unlike("a duration such as \"5s\"", value)));
    }
    duration_of(text(value)?)
}

/// The same, or `"never"`.
pub(super) fn duration_or_never(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    if value.as_str() == Some("never") { Ok(None) } else { duration(value).map(Some) }
}

/// A duration within these bounds, which the kernel sets, or `"never"`.
pub(super) fn kernel_duration(value: &DeValue<'_>, min: Duration, max: Duration) -> Result<Option<Duration>, String> {
    let duration = duration_or_never(value)?;
    match duration.filter(|duration| *duration < min || *duration > max) {
        Some(_) => Err(format!("{} is out of the kernel's range, {min:?} to {max:?}", text(value)?)),
        None => Ok(duration),
    }
}

pub(super) fn duration_of(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no duration: a number with ms, s, m, h or d is expected, such as \"5s\"");
    let parsed = UNITS.iter().find_map(|(unit, one)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(one.checked_mul(count))
    });
    match parsed.ok_or_else(expected)? {
        Some(duration) if duration.is_zero() => Err(format!("{text:?} would be over before it begins")),
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(format!("{text:?} is longer than a year")),
    }
}

/// How often something may happen, as `"100/s"`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let parsed = text.split_once('/').and_then(|(count, unit)| {
        let (_, per) = UNITS.iter().skip(1).take(3).find(|(name, _)| *name == unit)?;
        Some(Rate { count: count.parse().ok().filter(|count| *count > 0)?, per: *per })
    });
    parsed.ok_or_else(|| {
        format!("{text:?} is no rate: a number of connections with /s, /m or /h is expected, such as \"100/s\"")
    })
}

/// A network in CIDR form, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = IpAddr::from_str(text) {
        return Ok(address.into());
    }
    let network = IpNet::from_str(text).map_err(|_| {
        format!("{text:?} is no network: an address with the length of its prefix is expected, such as \"10.0.0.0/8\"")
    })?;
    if network != network.trunc() {
        return Err(format!(
            "{text:?} has more than a prefix of {} bits: did you mean {:?}?",
            network.prefix_len(),
            network.trunc().to_string()
        ));
    }
    Ok(network)
}

/// Where to listen.
pub(super) fn bind(text: &str) -> Result<Target, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(Target::Unix);
    }
    if let Ok(address) = SocketAddr::from_str(text) {
        return Ok(Target::Tcp(address));
    }
    let port = text.strip_prefix('*').unwrap_or(text).strip_prefix(':').filter(|port| u16::from_str(port).is_ok());
    Err(match port {
        Some(port) => format!(
            "{text:?} is no address: did you mean \"[::]:{port}\", which is IPv6 and IPv4, or \"0.0.0.0:{port}\"?"
        ),
        None => format!(
            "{text:?} is no address to listen on: one with its port is expected, such as \"0.0.0.0:5432\" or \"[::]:5432\", or \"unix:/PATH\""
        ),
    })
}

/// Where figures are given.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    match bind(text)? {
        Target::Tcp(address) => Ok(address),
        _ => Err(format!("{text:?} is no address with a port")),
    }
}

/// A place as a file has it.
pub(super) fn written(place: &Target) -> String {
    match place {
        Target::Tcp(address) => address.to_string(),
        place => format!("unix:{place}"),
    }
}

/// A path for a Unix socket.
pub(super) fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!("{path:?} is no path that begins with /"));
    }
    match path.len() {
        bytes if bytes > SOCKET_PATH_BYTES_MAX => {
            Err(format!("the path has {bytes} bytes, and a Unix socket's has at most {SOCKET_PATH_BYTES_MAX}"))
        }
        _ => Ok(path.into()),
    }
}

/// Where a server is.
pub(super) fn server(text: &str) -> Result<At, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(|path| At::Known(Target::Unix(path)));
    }
    if let Ok(address) = SocketAddr::from_str(text) {
        return with_port(text, address.port()).map(|_| At::Known(Target::Tcp(address)));
    }
    if let Ok(address) = IpAddr::from_str(text) {
        return Err(format!("{text:?} has no port: {} is expected", SocketAddr::new(address, 5432)));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port: HOST:PORT is expected"))?;
    let port =
        u16::from_str(port).map_err(|_| format!("{port:?} is no port: a number from 1 to {} is expected", u16::MAX))?;
    if host.contains(':') {
        return Err(format!("{text:?} is no address: did you mean \"[{host}]:{port}\"?"));
    }
    Ok(At::Named(HostPort { host: host_name(host)?, port: with_port(text, port)?, resolve: Some(RESOLVE_DEFAULT) }))
}

fn with_port(text: &str, port: u16) -> Result<u16, String> {
    if port == 0 { Err(format!("{text:?}: nobody can be reached on port 0")) } else { Ok(port) }
}

/// The name of a host (RFC 1123), in lower case.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let whole = |label: &str| {
        let plain = label.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = name.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if name.len() > 253 || numeric || !name.split('.').all(whole) {
        return Err(format!("{text:?} is no name of a host"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A name that clients ask for, or with `*.` in front all that end with the rest.
pub(super) fn asked_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err(format!("{text:?}: * may only stand for all before the first dot, as in \"*.example.org\""));
    }
    host_name(name).map(|_| text.trim_end_matches('.').to_ascii_lowercase())
}
