//! The command line, and what it asks for once it has been found to make sense.
//!
//! [`Arguments`] is what argh understands; [`Options`] is what the load runs on, in which options that exclude each
//! other cannot meet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::demand::{Demand, Pace};
use crate::soak::options::Arguments as Soak;
use crate::tls::{Asked, Version};
use crate::values::{count, drain, duration, whole_number};

/// Sends sequence numbers to a reactord server and verifies that every one comes back, once and in order.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    note = "Without options: one connection, one sequence number every 100 ms, until SIGINT or SIGTERM, and one line \
            on every discontinuity. A first signal stops the sending and waits for the answers still due; a second \
            one stops at once.",
    error_code(0, "Everything that was sent came back, once and in order."),
    error_code(1, "Something was lost or discontinuous, or could not connect."),
    error_code(2, "The command line cannot be understood, or asks for more connections than files may be open.")
)]
pub(crate) struct Arguments {
    /// the IP address of the server (default 127.0.0.1)
    #[argh(option, short = 'a', arg_name = "ip", from_str_fn(connect_address))]
    connect_address: Option<IpAddr>,

    /// the port of the server (default 1234)
    #[argh(option, short = 'p', arg_name = "port", default = "1234", from_str_fn(connect_port))]
    connect_port: u16,

    /// how many connections send (default 1)
    #[argh(option, short = 'n', arg_name = "n", default = "1", from_str_fn(count))]
    connections: usize,

    /// messages a second on each of them (default 10), or max: the next message as soon as the depth allows
    #[argh(option, arg_name = "r", default = "Rate::PerSecond(10.0)", from_str_fn(rate))]
    rate: Rate,

    /// with --rate max, how many messages are in flight on each connection (default 1)
    #[argh(option, arg_name = "d", from_str_fn(depth))]
    depth: Option<u32>,

    /// how long to send (default: until SIGINT or SIGTERM)
    #[argh(option, arg_name = "seconds", from_str_fn(duration))]
    duration: Option<Duration>,

    /// how many connections only wait, and are checked at the end with one message each (default 0)
    #[argh(option, arg_name = "n", default = "0", from_str_fn(count))]
    idle: usize,

    /// how many connections send as fast as the socket takes it but read only 4 KiB every 100 ms, and the rest at the
    /// end (default 0)
    #[argh(option, arg_name = "n", default = "0", from_str_fn(count))]
    slow_readers: usize,

    /// send every message as its first 1 to 3 bytes, and the rest half a message interval later; not with --rate max
    #[argh(switch)]
    fragment: bool,

    /// how long to wait at the end for the answers still due (default 10)
    #[argh(option, arg_name = "seconds", default = "Duration::from_secs(10)", from_str_fn(drain))]
    drain: Duration,

    /// speak TLS with the server, and verify its certificate
    #[argh(switch)]
    tls: bool,

    /// the only version of TLS that is spoken, 1.2 or 1.3 (default: both, the later one if the server knows it)
    #[argh(option, arg_name = "version", from_str_fn(Version::parse))]
    tls_version: Option<Version>,

    /// who may have signed that certificate, PEM (default: whom the system believes)
    #[argh(option, arg_name = "file")]
    ca: Option<PathBuf>,

    /// the name that the certificate is to have (default: the address)
    #[argh(option, arg_name = "name")]
    server_name: Option<String>,

    /// log every connection
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// print the version
    #[argh(switch)]
    pub(crate) version: bool,

    #[argh(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else the client can do.
#[derive(FromArgs)]
#[argh(subcommand)]
pub(crate) enum Command {
    Soak(Soak),
}

/// What `--rate` may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    PerSecond(f64),
    Max,
}

/// What the load is to be.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) server: SocketAddr,
    /// What TLS is to be spoken with, if it is.
    pub(crate) tls: Option<Asked>,
    pub(crate) demand: Demand,
    /// `None` is until a signal.
    pub(crate) duration: Option<Duration>,
    pub(crate) drain: Duration,
    pub(crate) verbose: bool,
}

impl TryFrom<Arguments> for Options {
    type Error = String;

    fn try_from(arguments: Arguments) -> Result<Self, String> {
        let pace = match (arguments.rate, arguments.fragment, arguments.depth) {
            (Rate::Max, true, _) => {
                return Err("--fragment needs a --rate in messages a second: with --rate max there is no time for a \
                            pause"
                    .to_owned());
            }
            (Rate::PerSecond(per_second), _, Some(depth)) => {
                return Err(format!("--depth {depth} needs --rate max: at --rate {per_second} the clock decides"));
            }
            (Rate::Max, false, depth) => Pace::Answers { depth: depth.unwrap_or(1) },
            (Rate::PerSecond(per_second), _, None) => Pace::Clock { per_second },
        };
        let (sending, fragmenting) =
            if arguments.fragment { (0, arguments.connections) } else { (arguments.connections, 0) };
        let options = Self {
            server: SocketAddr::new(
                arguments.connect_address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
                arguments.connect_port,
            ),
            tls: Asked::new(arguments.tls, arguments.tls_version, arguments.ca, arguments.server_name)?,
            demand: Demand {
                sending,
                fragmenting,
                idle: arguments.idle,
                slow_readers: arguments.slow_readers,
                pace,
                churn_per_second: 0.0,
            },
            duration: arguments.duration,
            drain: arguments.drain,
            verbose: arguments.verbose,
        };
        if options.demand.connections() == 0 {
            return Err(
                "at least 1 connection is needed: --connections, --idle and --slow-readers are all 0".to_owned()
            );
        }
        Ok(options)
    }
}

/// Whether the subcommand stands first: the options before it are those of the plain load.
pub(crate) fn nothing_before_subcommand() -> Result<(), String> {
    match std::env::args().nth(1) {
        Some(first) if first.starts_with('-') => {
            Err(format!("{first} stands before the subcommand, whose options follow it"))
        }
        _ => Ok(()),
    }
}

fn connect_address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| "an IPv4 or IPv6 address is expected, such as 127.0.0.1 or ::1".to_owned())
}

fn connect_port(value: &str) -> Result<u16, String> {
    whole_number(value, 1, u16::MAX)
}

/// So many messages are 4 MB: more than the sockets between two processes hold, and deeper makes no difference.
const DEPTH_MAX: u32 = 1_000_000;

fn depth(value: &str) -> Result<u32, String> {
    whole_number(value, 1, DEPTH_MAX)
}

fn rate(value: &str) -> Result<Rate, String> {
    if value == "max" {
        return Ok(Rate::Max);
    }
    let per_second = value.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    per_second.map(Rate::PerSecond).ok_or("a number of messages a second above 0 is expected, or max".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        let arguments = Arguments::from_args(&["test"], arguments).map_err(|error| error.output)?;
        Options::try_from(arguments)
    }

    #[test]
    fn without_options_one_connection_sends_a_number_every_100_ms() {
        let expected = Options {
            server: "127.0.0.1:1234".parse().unwrap(),
            tls: None,
            demand: Demand {
                sending: 1,
                fragmenting: 0,
                idle: 0,
                slow_readers: 0,
                pace: Pace::Clock { per_second: 10.0 },
                churn_per_second: 0.0,
            },
            duration: None,
            drain: Duration::from_secs(10),
            verbose: false,
        };
        assert_eq!(options(&[]), Ok(expected));
    }

    #[test]
    fn rate_max_takes_a_depth_and_has_a_default_for_it() {
        assert_eq!(options(&["--rate", "max"]).unwrap().demand.pace, Pace::Answers { depth: 1 });
        assert_eq!(options(&["--rate", "max", "--depth", "16"]).unwrap().demand.pace, Pace::Answers { depth: 16 });
    }

    #[test]
    fn both_address_families_are_taken() {
        assert_eq!(options(&["-a", "::1", "-p", "7"]).unwrap().server, "[::1]:7".parse().unwrap());
        assert_eq!(options(&["-a", "10.1.2.3"]).unwrap().server, "10.1.2.3:1234".parse().unwrap());
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        for (option, value, allowed) in [
            ("-a", "localhost", "an IPv4 or IPv6 address"),
            ("-p", "0", "from 1 to 65535"),
            ("-p", "65536", "from 1 to 65535"),
            ("-n", "-1", "a whole number from 0"),
            ("--idle", "many", "a whole number from 0"),
            ("--slow-readers", "1.5", "a whole number from 0"),
            ("--rate", "0", "above 0 is expected, or max"),
            ("--rate", "inf", "above 0 is expected, or max"),
            ("--rate", "NaN", "above 0 is expected, or max"),
            ("--depth", "0", "from 1 to 1000000"),
            ("--duration", "0", "seconds above 0"),
            ("--duration", "1e300", "seconds above 0"),
            ("--drain", "-1", "seconds from 0 up"),
            ("--tls-version", "1", "1.2 or 1.3"),
        ] {
            let message = options(&[option, value]).unwrap_err();
            assert!(message.contains(&format!("'{value}'")) && message.contains(allowed), "{message}");
        }
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        assert!(options(&["--rate", "max", "--fragment"]).unwrap_err().contains("--fragment needs"));
        assert!(options(&["--depth", "4"]).unwrap_err().contains("--depth 4 needs --rate max"));
        assert!(options(&["--ca", "ca.pem"]).unwrap_err().contains("--ca needs --tls"));
        assert!(options(&["-n", "0"]).unwrap_err().contains("at least 1 connection"));
    }
}
