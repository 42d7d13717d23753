//! The command line of a soak, and what it asks for once it has been found to make sense.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::demand::{Demand, Pace};
use crate::tls::{Asked, Version};
use crate::values::{count, drain, duration};

/// Starts a reactord, replaces it under load again and again, checks every byte, and tells what it was like.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "soak",
    help_triggers("-h", "--help"),
    note = "Messages are sequence numbers; every one has to come back, once and in order. At the end every connection \
            that was idle sends one, too. A first signal ends the load and checks what is due; a second one stops at once.",
    error_code(0, "Everything came back, and every takeover went as planned."),
    error_code(1, "Something was lost, a takeover failed, or the server died and nobody served on."),
    error_code(2, "The command line cannot be understood, or asks for more connections than files may be open.")
)]
pub(crate) struct Arguments {
    /// the reactord to start (default: the one beside this program; where cargo runs this, it is built first)
    #[argh(option, arg_name = "path")]
    server: Option<PathBuf>,

    /// soak a server that runs already, without takeovers of its own
    #[argh(option, arg_name = "address:port", from_str_fn(address))]
    attach: Option<SocketAddr>,

    /// how many connections there are (default 10000)
    #[argh(option, short = 'n', arg_name = "n", default = "10_000", from_str_fn(count))]
    connections: usize,

    /// how many of them send by the clock (default: 1000, or as many as there are)
    #[argh(option, arg_name = "n", from_str_fn(count))]
    active: Option<usize>,

    /// messages a second on each of those (default 10)
    #[argh(option, arg_name = "r", default = "10.0", from_str_fn(rate))]
    rate: f64,

    /// how many of those send each message in two parts, half an interval apart (default: a tenth)
    #[argh(option, arg_name = "n", from_str_fn(count))]
    fragmenting: Option<usize>,

    /// how many of all connections send as fast as the socket takes it but read only 4 KiB every 100 ms (default 0)
    #[argh(option, arg_name = "n", default = "0", from_str_fn(count))]
    slow_readers: usize,

    /// how many further connections come every second, stay for one, and go (default 0)
    #[argh(option, arg_name = "r", default = "0.0", from_str_fn(churn))]
    churn: f64,

    /// how many successors are started (default 5; with --moves or --kill-active 0)
    #[argh(option, arg_name = "n", from_str_fn(count))]
    takeovers: Option<usize>,

    /// how long it is from one takeover, move or kill to the next, about (default 2; with --moves 0.2)
    #[argh(option, arg_name = "seconds", from_str_fn(duration))]
    interval: Option<Duration>,

    /// have the server start its successors itself, as `reactord upgrade` asks it to
    #[argh(switch)]
    upgrade: bool,

    /// how many of those successors cannot take over, each in another way; the last one always can (default 0)
    #[argh(option, arg_name = "n", default = "0", from_str_fn(count))]
    unfit: usize,

    /// which share of the successors is killed while it copies, 0 to 1; the last one never is (default 0)
    #[argh(option, arg_name = "share", default = "0.0", from_str_fn(share))]
    kill_successors: f64,

    /// how often a server gives some of its connections to another one: a random number, share or list of them (default 0)
    #[argh(option, arg_name = "n", from_str_fn(count))]
    moves: Option<usize>,

    /// how many servers there are with --moves, 2 to 4: the second half of them does not listen, but waits at the first
    /// (default 3)
    #[argh(option, arg_name = "n", from_str_fn(servers))]
    servers: Option<usize>,

    /// in which share of the moves one of the two servers is killed, 0 to 1 (default 0)
    #[argh(option, arg_name = "share", default = "0.0", from_str_fn(share))]
    kill_movers: f64,

    /// how often the server, which has a standby, is killed with SIGKILL, for the standby to serve on (default 0)
    #[argh(option, arg_name = "n", default = "0", from_str_fn(count))]
    kill_active: usize,

    /// speak TLS, with verified certificates: servers of our own get one, and connections take turns among versions and suites
    #[argh(switch)]
    tls: bool,

    /// the only version of TLS that is spoken, 1.2 or 1.3 (default: both)
    #[argh(option, arg_name = "version", from_str_fn(Version::parse))]
    tls_version: Option<Version>,

    /// with --attach, who may have signed the server's certificate, PEM (default: whom the system believes)
    #[argh(option, arg_name = "file")]
    ca: Option<PathBuf>,

    /// with --attach, the name that it is to have (default: the address)
    #[argh(option, arg_name = "name")]
    server_name: Option<String>,

    /// how long to send, where no takeovers set the length (default 10)
    #[argh(option, arg_name = "seconds", from_str_fn(duration))]
    duration: Option<Duration>,

    /// how long to wait at the end for the answers still due (default 10)
    #[argh(option, arg_name = "seconds", default = "Duration::from_secs(10)", from_str_fn(drain))]
    drain: Duration,

    /// what decides when exactly takeovers begin and which successors are killed (default: another one each time)
    #[argh(option, arg_name = "n")]
    seed: Option<u64>,

    /// write the figures to this file
    #[argh(option, arg_name = "file")]
    json: Option<PathBuf>,

    /// write a page with pictures to this file
    #[argh(option, arg_name = "file.html")]
    report: Option<PathBuf>,

    /// write the main picture to this file
    #[argh(option, arg_name = "file.svg")]
    picture: Option<PathBuf>,

    /// log every connection, and all that the servers say
    #[argh(switch, short = 'v')]
    verbose: bool,
}

/// Whom to soak.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// A server of our own, with takeovers.
    Start { program: Option<PathBuf> },
    /// Somebody else's.
    Attach(SocketAddr),
}

/// What the soak is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) target: Target,
    /// What TLS is to be spoken with, if it is.
    pub(crate) tls: Option<Asked>,
    pub(crate) demand: Demand,
    pub(crate) takeovers: usize,
    /// Whether the server starts its successors itself, and how many of those cannot take over.
    pub(crate) upgrade: bool,
    pub(crate) unfit: usize,
    /// How many moves there are between how many servers. None of the former means one of the latter.
    pub(crate) moves: usize,
    pub(crate) servers: usize,
    /// How often the server is killed that serves. If it is, it has a standby.
    pub(crate) kill_active: usize,
    pub(crate) interval: Duration,
    /// In which share of the takeovers the successor is killed, or of the moves, if there are any, one side.
    pub(crate) kill_share: f64,
    /// How long it takes where there are neither takeovers nor moves.
    pub(crate) duration: Duration,
    pub(crate) drain: Duration,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) picture: Option<PathBuf>,
    pub(crate) verbose: bool,
}

/// So many active connections, and so many takeovers, show what there is to see in about ten seconds.
const ACTIVE: usize = 1000;
const TAKEOVERS: usize = 5;
const DURATION: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(2);

/// Moves are shorter than takeovers, and there are more of them. With three servers there is one that has no part in each.
const SERVERS: usize = 3;
const MOVE_INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no takeover where the server is killed.
const STANDBY_SERVES_ON: &str = "there its standby serves on, and no successor takes over";

impl Arguments {
    /// Whether what is said of upgrades makes sense.
    fn check_upgrades(&self, takeovers: usize) -> Result<(), String> {
        if !self.upgrade {
            return if self.unfit > 0 { Err("--unfit needs --upgrade".to_owned()) } else { Ok(()) };
        }
        let contradicting =
            [("--moves", self.moves.is_some_and(|moves| moves > 0)), ("--kill-successors", self.kill_successors > 0.0)];
        if let Some((option, _)) = contradicting.into_iter().find(|(_, given)| *given) {
            return Err(format!("{option} contradicts --upgrade: --unfit has successors fail, also by being killed"));
        }
        if self.unfit > 0 && self.unfit >= takeovers {
            return Err(format!("--unfit {}: at most all but one of {takeovers} takeovers", self.unfit));
        }
        Ok(())
    }

    /// Whether what is said of kills makes sense.
    fn check_kills(&self) -> Result<(), String> {
        let contradicting = [
            ("--takeovers", self.takeovers.is_some_and(|takeovers| takeovers > 0), STANDBY_SERVES_ON),
            ("--moves", self.moves.is_some_and(|moves| moves > 0), "whoever has a standby moves no connections"),
            ("--upgrade", self.upgrade, STANDBY_SERVES_ON),
            ("--kill-successors", self.kill_successors > 0.0, STANDBY_SERVES_ON),
            (
                "--churn",
                self.churn > 0.0,
                "a standby does not know yet who has just come, and none may know who is lost",
            ),
        ];
        match contradicting.into_iter().find(|(_, given, _)| *given && self.kill_active > 0) {
            Some((option, _, why)) => Err(format!("{option} contradicts --kill-active: {why}")),
            None => Ok(()),
        }
    }

    /// Whether what is said of moves makes sense.
    fn check_moves(&self) -> Result<(), String> {
        if self.moves.is_none_or(|moves| moves == 0) {
            let without = [("--servers", self.servers.is_some()), ("--kill-movers", self.kill_movers > 0.0)];
            return match without.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!("{option} needs --moves: otherwise there is one server")),
                None => Ok(()),
            };
        }
        if self.kill_successors > 0.0 {
            return Err("--kill-successors contradicts --moves: --kill-movers kills either side of a move".to_owned());
        }
        if self.kill_movers > 0.0 && self.churn > 0.0 {
            return Err(
                "--churn contradicts --kill-movers: who owns a connection that just passes is not known".to_owned()
            );
        }
        Ok(())
    }
}

impl TryFrom<Arguments> for Options {
    type Error = String;

    fn try_from(arguments: Arguments) -> Result<Self, String> {
        let Arguments { connections, slow_readers, rate, .. } = arguments;
        if connections == 0 {
            return Err("--connections 0: at least 1 is needed".to_owned());
        }
        let lasting = connections.checked_sub(slow_readers).ok_or(format!(
            "--slow-readers {slow_readers} are more than --connections {connections}, of which they are part"
        ))?;
        let active = arguments.active.unwrap_or(ACTIVE.min(lasting));
        let idle = lasting.checked_sub(active).ok_or(format!(
            "--active {active} and --slow-readers {slow_readers} are more than --connections {connections}, of which \
             they are part"
        ))?;
        let fragmenting = arguments.fragmenting.unwrap_or(active / 10);
        let sending = active
            .checked_sub(fragmenting)
            .ok_or(format!("--fragmenting {fragmenting} are more than --active {active}, of which they are part"))?;

        arguments.check_kills()?;
        arguments.check_moves()?;
        let moves = arguments.moves.unwrap_or(0);
        let kills = arguments.kill_active;
        let takeovers = arguments.takeovers.unwrap_or(if moves + kills > 0 { 0 } else { TAKEOVERS });
        arguments.check_upgrades(takeovers)?;
        let of_attached = [("--ca", arguments.ca.is_some()), ("--server-name", arguments.server_name.is_some())];
        let tls = Asked::new(arguments.tls, arguments.tls_version, arguments.ca, arguments.server_name)?;
        let (target, takeovers) = match arguments.attach {
            None => {
                if let Some((option, _)) = of_attached.into_iter().find(|(_, given)| *given) {
                    return Err(format!("{option} needs --attach: servers of our own have a certificate of our own"));
                }
                (Target::Start { program: arguments.server }, takeovers)
            }
            Some(address) => {
                let contradicting = [
                    ("--server", arguments.server.is_some()),
                    ("--takeovers", arguments.takeovers.is_some_and(|takeovers| takeovers > 0)),
                    ("--moves", moves > 0),
                    ("--kill-successors", arguments.kill_successors > 0.0),
                    ("--upgrade", arguments.upgrade),
                    ("--kill-active", kills > 0),
                ];
                if let Some((option, _)) = contradicting.into_iter().find(|(_, given)| *given) {
                    return Err(format!("{option} contradicts --attach: the server is somebody else's"));
                }
                (Target::Attach(address), 0)
            }
        };
        if takeovers + moves + kills > 0 && arguments.duration.is_some() {
            return Err("--duration needs --takeovers 0 or --attach: otherwise the takeovers set the length".to_owned());
        }
        Ok(Self {
            target,
            tls,
            demand: Demand {
                sending,
                fragmenting,
                idle,
                slow_readers,
                pace: Pace::Clock { per_second: rate },
                churn_per_second: arguments.churn,
            },
            takeovers,
            upgrade: arguments.upgrade,
            unfit: arguments.unfit,
            moves,
            kill_active: kills,
            servers: if moves > 0 { arguments.servers.unwrap_or(SERVERS) } else { 1 },
            interval: arguments.interval.unwrap_or(if moves > 0 { MOVE_INTERVAL } else { INTERVAL }),
            kill_share: if moves > 0 { arguments.kill_movers } else { arguments.kill_successors },
            duration: arguments.duration.unwrap_or(DURATION),
            drain: arguments.drain,
            seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
            json: arguments.json,
            report: arguments.report,
            picture: arguments.picture,
            verbose: arguments.verbose,
        })
    }
}

fn address(value: &str) -> Result<SocketAddr, String> {
    value
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() > 0)
        .ok_or("an address and a port are expected, such as 127.0.0.1:1234 or [::1]:1234".to_owned())
}

fn rate(value: &str) -> Result<f64, String> {
    let per_second = value.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    per_second.ok_or("a number of messages a second above 0 is expected".to_owned())
}

/// With more, connections would wait for each other in the client.
const CHURN_MAX: f64 = 5_000.0;

fn churn(value: &str) -> Result<f64, String> {
    let per_second = value.parse().ok().filter(|rate: &f64| (0.0..=CHURN_MAX).contains(rate));
    per_second.ok_or(format!("a number of connections a second from 0 to {CHURN_MAX} is expected"))
}

fn servers(value: &str) -> Result<usize, String> {
    let servers = value.parse().ok().filter(|servers| (2..=4).contains(servers));
    servers.ok_or("a number of servers from 2 to 4 is expected".to_owned())
}

fn share(value: &str) -> Result<f64, String> {
    let share = value.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or("a share from 0 to 1 is expected, such as 0.3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        let arguments = Arguments::from_args(&["soak"], arguments).map_err(|error| error.output)?;
        Options::try_from(arguments)
    }

    fn counts(arguments: &[&str]) -> [usize; 4] {
        let demand = options(arguments).unwrap().demand;
        [demand.sending, demand.fragmenting, demand.idle, demand.slow_readers]
    }

    #[test]
    fn connections_are_shared_out_among_the_kinds() {
        assert_eq!(counts(&[]), [900, 100, 9000, 0]);
        assert_eq!(counts(&["-n", "300"]), [270, 30, 0, 0]);
        assert_eq!(counts(&["-n", "300", "--active", "100", "--slow-readers", "50"]), [90, 10, 150, 50]);
        assert_eq!(counts(&["-n", "9", "--active", "9", "--fragmenting", "9"]), [0, 9, 0, 0]);
        assert_eq!(counts(&["-n", "5", "--slow-readers", "5"]), [0, 0, 0, 5]);
    }

    #[test]
    fn a_server_of_our_own_is_taken_over_and_one_of_somebody_else_is_not() {
        let own = options(&["--server", "x"]).unwrap();
        assert_eq!((own.target, own.takeovers), (Target::Start { program: Some("x".into()) }, TAKEOVERS));
        let attached = options(&["--attach", "[::1]:7", "--duration", "3"]).unwrap();
        assert_eq!((attached.target, attached.takeovers), (Target::Attach("[::1]:7".parse().unwrap()), 0));
        assert_eq!(attached.duration, Duration::from_secs(3));
    }

    #[test]
    fn moves_are_between_several_servers_and_closer_together_than_takeovers() {
        let moves = options(&["--moves", "10", "--kill-movers", "0.5"]).unwrap();
        assert_eq!((moves.moves, moves.servers, moves.takeovers), (10, SERVERS, 0));
        assert_eq!((moves.interval, moves.kill_share), (MOVE_INTERVAL, 0.5));
        let mixed = options(&["--moves", "10", "--takeovers", "2", "--servers", "4", "--interval", "1"]).unwrap();
        assert_eq!((mixed.takeovers, mixed.servers, mixed.interval), (2, 4, Duration::from_secs(1)));
        let none = options(&[]).unwrap();
        assert_eq!((none.moves, none.servers, none.interval), (0, 1, INTERVAL));
    }

    #[test]
    fn a_server_that_is_killed_is_not_taken_over() {
        let killed = options(&["--kill-active", "20", "--takeovers", "0"]).unwrap();
        assert_eq!((killed.kill_active, killed.takeovers, killed.interval), (20, 0, INTERVAL));
        assert_eq!(options(&["--kill-active", "20"]).unwrap().takeovers, 0);
        assert_eq!(options(&["--kill-active", "0"]).unwrap().takeovers, TAKEOVERS);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (arguments, reason) in [
            (&["-n", "0"][..], "at least 1 is needed"),
            (&["-n", "5", "--active", "6"], "--active 6 and --slow-readers 0 are more than --connections 5"),
            (&["-n", "5", "--slow-readers", "6"], "--slow-readers 6 are more than --connections 5"),
            (&["--active", "5", "--fragmenting", "6"], "--fragmenting 6 are more than --active 5"),
            (&["--attach", "127.0.0.1:1", "--takeovers", "1"], "--takeovers contradicts --attach"),
            (&["--attach", "127.0.0.1:1", "--server", "x"], "--server contradicts --attach"),
            (&["--attach", "127.0.0.1:1", "--kill-successors", "1"], "--kill-successors contradicts --attach"),
            (&["--duration", "5"], "--duration needs --takeovers 0 or --attach"),
            (&["--attach", "127.0.0.1:0"], "an address and a port are expected"),
            (&["--attach", "127.0.0.1:1", "--moves", "1"], "--moves contradicts --attach"),
            (&["--servers", "3"], "--servers needs --moves"),
            (&["--kill-movers", "1"], "--kill-movers needs --moves"),
            (&["--moves", "1", "--servers", "5"], "a number of servers from 2 to 4"),
            (&["--moves", "1", "--kill-successors", "1"], "--kill-successors contradicts --moves"),
            (&["--moves", "1", "--kill-movers", "1", "--churn", "1"], "--churn contradicts --kill-movers"),
            (&["--moves", "1", "--duration", "5"], "--duration needs --takeovers 0"),
            (&["--kill-successors", "1.5"], "a share from 0 to 1"),
            (&["--churn", "-1"], "a number of connections a second from 0"),
            (&["--unfit", "1"], "--unfit needs --upgrade"),
            (&["--upgrade", "--takeovers", "2", "--unfit", "2"], "--unfit 2: at most all but one of 2 takeovers"),
            (&["--upgrade", "--moves", "1"], "--moves contradicts --upgrade"),
            (&["--upgrade", "--kill-successors", "0.5"], "--kill-successors contradicts --upgrade"),
            (&["--attach", "127.0.0.1:1", "--upgrade"], "--upgrade contradicts --attach"),
            (&["--attach", "127.0.0.1:1", "--kill-active", "1"], "--kill-active contradicts --attach"),
            (&["--kill-active", "1", "--takeovers", "1"], "--takeovers contradicts --kill-active"),
            (&["--kill-active", "1", "--moves", "1"], "--moves contradicts --kill-active"),
            (&["--kill-active", "1", "--upgrade"], "--upgrade contradicts --kill-active"),
            (&["--kill-active", "1", "--kill-successors", "1"], "--kill-successors contradicts --kill-active"),
            (&["--kill-active", "1", "--churn", "1"], "--churn contradicts --kill-active"),
            (&["--kill-active", "1", "--duration", "5"], "--duration needs --takeovers 0"),
            (&["--tls-version", "1.2"], "--tls-version needs --tls"),
            (&["--tls", "--ca", "ca.pem"], "--ca needs --attach"),
            (&["--rate", "max"], "above 0 is expected"),
        ] {
            let message = options(arguments).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}
