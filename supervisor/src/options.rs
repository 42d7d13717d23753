//! `reactord supervise`: its options, and what they mean.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use nix::sys::signal::Signal;
use reactord_cli::listen_fds::Passed;
use reactord_cli::logger::Format;
use reactord_cli::values::{address, backlog, count, log_format, number, port};
use reactord_process::adopted::{Adopted, At};

use crate::config::{AskedOn, Config, Ready, Replace, Supply};
use crate::daemon::Daemon;
use crate::fixed::Fixed;
use crate::resume::goes_on;

/// Hold ports, start workers, and pass the connections on to them: reactord supervise -p PORT -- COMMAND ARGS.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "supervise",
    help_triggers("-h", "--help"),
    example = "{command_name} -p 1234 --workers 4 -- reactord --worker",
    note = "Signals: HUP replaces the workers, USR1 or TTIN adds one, TTOU removes one, USR2 executes the binary of the supervisor \
            anew in place, TERM, INT and QUIT stop.",
    error_code(0, "Served until it was stopped."),
    error_code(1, "Could not begin: a port is busy, the command does not exist, ..."),
    error_code(2, "The command line cannot be understood, or contradicts itself.")
)]
pub struct Arguments {
    /// address to listen on, IPv4 or IPv6 (default: 127.0.0.1)
    #[argh(option, short = 'a', arg_name = "ADDR", default = "Ipv4Addr::LOCALHOST.into()", from_str_fn(address))]
    listen_address: IpAddr,

    /// port to listen on, as often as there are ports; 0 lets the kernel choose
    #[argh(option, short = 'p', arg_name = "PORT", from_str_fn(port))]
    listen_port: Vec<u16>,

    /// unix socket on which `reactord reload`, `status`, `upgrade` and `log` are answered (default: reactord.supervise in the
    /// user's runtime directory)
    #[argh(option, short = 't', long = "path", arg_name = "PATH", from_str_fn(path))]
    asked_on: Option<PathBuf>,

    /// connections that may wait in the kernel to be accepted (default: the kernel's maximum)
    #[argh(option, short = 'b', arg_name = "N", from_str_fn(backlog))]
    listen_backlog: Option<u32>,

    /// workers to start (default: 1)
    #[argh(option, arg_name = "N", default = "1", from_str_fn(workers))]
    workers: usize,

    /// queue: workers draw accepted connections; listen: they get the listening sockets by the systemd convention
    /// (default: queue)
    #[argh(option, arg_name = "queue|listen", default = "Supply::Queue", from_str_fn(supply))]
    hand_over: Supply,

    /// with --hand-over listen, the signal on which a worker finishes what it has and exits: HUP, INT, QUIT, TERM, USR1, USR2 or
    /// WINCH (default: TERM)
    #[argh(option, arg_name = "SIG", from_str_fn(finish_signal))]
    finish_signal: Option<Signal>,

    /// with --hand-over listen, when a worker counts as ready that has not said READY=1: notify: never; after=S: when it has lived
    /// for S seconds; tcp: when it is seen to wait for connections (default: tcp)
    #[argh(option, arg_name = "notify|after=S|tcp", from_str_fn(ready))]
    ready: Option<Ready>,

    /// drain: workers that are replaced finish what they have; takeover: they hand it to those that replace them
    /// (default: drain)
    #[argh(option, arg_name = "drain|takeover", default = "Replace::Drain", from_str_fn(replace))]
    replace: Replace,

    /// keep the workers' shares of the live connections within a tenth; for workers that can give or move some
    #[argh(switch)]
    rebalance: bool,

    /// connections that may wait for a worker; further ones wait in the kernel (default: 1024)
    #[argh(option, arg_name = "N", default = "1024", from_str_fn(count))]
    queue_max: usize,

    /// bytes that workers may leave with the supervisor, in all, about connections that they give back; beyond that they
    /// keep them (default: 67108864)
    #[argh(option, arg_name = "BYTES", default = "STATE_BYTES", from_str_fn(state_bytes))]
    state_max: usize,

    /// how long a worker may take to become ready, in seconds (default: 60)
    #[argh(option, arg_name = "S", default = "Duration::from_secs(60)", from_str_fn(seconds))]
    ready_timeout: Duration,

    /// how long a worker may take to finish what it has, in seconds (default: 60); then it gets SIGTERM, then SIGKILL
    #[argh(option, arg_name = "S", default = "Duration::from_secs(60)", from_str_fn(seconds))]
    drain_timeout: Duration,

    /// file for the supervisor's pid; it is locked, so a second supervisor with it is refused
    #[argh(option, arg_name = "FILE", from_str_fn(path))]
    pid_file: Option<PathBuf>,

    /// go into the background when it serves
    #[argh(switch)]
    detach: bool,

    /// with --detach, where to append lines (default: the system log)
    #[argh(option, arg_name = "FILE", from_str_fn(path))]
    log_file: Option<PathBuf>,

    /// be the process in the background; for --detach alone
    #[argh(switch, hidden_help)]
    background: bool,

    /// say what happens to each connection
    #[argh(switch, short = 'v')]
    pub verbose: bool,

    /// what log lines look like: text, or json, one object a line; the system log has a format of its own (default: text)
    #[argh(option, arg_name = "text|json", default = "Format::Text", from_str_fn(log_format))]
    pub log_format: Format,
}

impl Arguments {
    /// What the options mean, with the command that followed `--`, and with the path to be asked on where none is chosen.
    ///
    /// # Errors
    /// What is missing, or contradicts something else.
    pub fn daemon(
        self,
        command: Option<Vec<OsString>>,
        passed: impl FnOnce() -> Result<Vec<Passed>, String>,
        default_path: impl FnOnce() -> Result<PathBuf, String>,
    ) -> Result<Daemon, String> {
        let command = command.ok_or("-- is missing: reactord supervise -p PORT -- COMMAND ARGS")?;
        if command.is_empty() {
            return Err("no command follows --".to_owned());
        }
        // Whoever goes on with what an earlier binary had has its sockets from that, and others where they were passed.
        let passed = if goes_on() { Vec::new() } else { passed()? };
        if self.listen_port.is_empty() && passed.is_empty() && !goes_on() {
            return Err("a port to listen on is missing: -p PORT".to_owned());
        }
        if self.detach && !passed.is_empty() {
            return Err("--detach contradicts sockets of a service manager, which looks after this process".to_owned());
        }
        if self.hand_over == Supply::Listeners && self.replace == Replace::Takeover {
            return Err(
                "--replace takeover contradicts --hand-over listen: it is for workers that draw from the queue"
                    .to_owned(),
            );
        }
        if self.hand_over == Supply::Listeners && self.rebalance {
            return Err(
                "--rebalance contradicts --hand-over listen: it is for workers that draw from the queue".to_owned()
            );
        }
        if self.hand_over == Supply::Queue && (self.finish_signal.is_some() || self.ready.is_some()) {
            let option = if self.finish_signal.is_some() { "--finish-signal" } else { "--ready" };
            return Err(format!(
                "{option} is for --hand-over listen: who draws from the queue speaks and is told over it"
            ));
        }
        if let Some(Ready::After(time)) = self.ready
            && time >= self.ready_timeout
        {
            let (time, ready_timeout) = (time.as_secs_f64(), self.ready_timeout.as_secs_f64());
            return Err(format!(
                "--ready after={time} contradicts --ready-timeout {ready_timeout}: it is over before that"
            ));
        }
        if self.log_file.is_some() && !self.detach {
            return Err("--log-file is for --detach; without it, lines go to standard error".to_owned());
        }
        if self.log_format == Format::Json && self.detach && self.log_file.is_none() {
            return Err(
                "--log-format json contradicts --detach without --log-file: lines go to the system log, which \
                        has a format of its own"
                    .to_owned(),
            );
        }
        let fixed = self.fixed();
        let addresses = self.listen_port.iter().map(|port| SocketAddr::new(self.listen_address, *port)).collect();
        let (listen_addresses, listen_sockets) = beside(addresses, passed)?;
        let config = Config {
            fixed,
            listen_addresses,
            listen_sockets,
            listen_backlog: self.listen_backlog,
            path: self
                .asked_on
                .map_or_else(|| default_path().map_or_else(AskedOn::Nowhere, AskedOn::Default), AskedOn::Chosen),
            command,
            workers: self.workers,
            supply: self.hand_over,
            ready: self.ready.unwrap_or_default(),
            finish_signal: self.finish_signal.unwrap_or(Signal::SIGTERM),
            replace: self.replace,
            rebalance: self.rebalance,
            queue_max: self.queue_max,
            states_bytes_max: self.state_max,
            ready_timeout: self.ready_timeout,
            drain_timeout: self.drain_timeout,
        };
        Ok(Daemon {
            config,
            detach: self.detach,
            background: self.background,
            pid_file: self.pid_file,
            log_file: self.log_file,
        })
    }

    /// What of this cannot change while a supervisor goes on as another binary: sockets are bound, workers were told how they
    /// get connections and hand them over, and files are locked.
    fn fixed(&self) -> Fixed {
        let mut addresses: Vec<String> =
            self.listen_port.iter().map(|port| SocketAddr::new(self.listen_address, *port).to_string()).collect();
        addresses.sort();
        let of_path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        Fixed::default()
            .with("--listen-port", (!addresses.is_empty()).then(|| addresses.join(" and ")))
            .with("--listen-backlog", self.listen_backlog)
            .with("--path", of_path(&self.asked_on))
            .with("--hand-over", Some(self.hand_over))
            .with("--replace", Some(self.replace))
            .with("--detach", self.detach.then_some("given"))
            .with("--pid-file", of_path(&self.pid_file))
    }
}

/// The sockets that were passed, and the addresses that are none of theirs.
fn beside(addresses: Vec<SocketAddr>, passed: Vec<Passed>) -> Result<(Vec<SocketAddr>, Vec<Adopted>), String> {
    let sockets: Vec<Adopted> = passed.into_iter().map(|passed| passed.socket).collect();
    if let Some(At::Unix(path)) = sockets.iter().map(Adopted::at).find(|at| matches!(at, At::Unix(_))) {
        return Err(format!("{} is a Unix socket: a supervisor passes TCP connections on", path.display()));
    }
    let is_open = |address: &SocketAddr| sockets.iter().any(|socket| *socket.at() == At::Tcp(*address));
    Ok((addresses.into_iter().filter(|address| !is_open(address)).collect(), sockets))
}

/// A thousand of the longest states.
const STATE_BYTES: usize = 64 * 1024 * 1024;

/// The first binary that can be tried has copies of all states for a moment.
const STATE_BYTES_MAX: usize = 16 * 1024 * 1024 * 1024;

fn state_bytes(value: &str) -> Result<usize, String> {
    let bytes: Option<usize> = value.parse().ok().filter(|bytes| *bytes <= STATE_BYTES_MAX);
    bytes.ok_or_else(|| format!("a number of bytes from 0 to {STATE_BYTES_MAX} is expected"))
}

/// More workers than any machine has cores for.
const WORKERS_MAX: usize = 1024;

fn workers(value: &str) -> Result<usize, String> {
    number(value, WORKERS_MAX)
}

fn supply(value: &str) -> Result<Supply, String> {
    match value {
        "queue" => Ok(Supply::Queue),
        "listen" => Ok(Supply::Listeners),
        _ => Err("queue or listen is expected".to_owned()),
    }
}

/// What programs finish on; no signal that would stop one, or that it cannot tell from a fault of its own.
const FINISH_SIGNALS: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

fn finish_signal(value: &str) -> Result<Signal, String> {
    let name = value.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let named = |signal: &&Signal| signal.as_str().strip_prefix("SIG") == Some(name);
    let found = FINISH_SIGNALS.iter().find(named).copied();
    found.ok_or_else(|| "HUP, INT, QUIT, TERM, USR1, USR2 or WINCH is expected".to_owned())
}

fn ready(value: &str) -> Result<Ready, String> {
    match value.split_once('=') {
        None if value == "notify" => Ok(Ready::Notify),
        None if value == "tcp" => Ok(Ready::Tcp),
        Some(("after", time)) => seconds(time).map(Ready::After),
        _ => Err("notify, after=SECONDS or tcp is expected".to_owned()),
    }
}

fn replace(value: &str) -> Result<Replace, String> {
    match value {
        "drain" => Ok(Replace::Drain),
        "takeover" => Ok(Replace::Takeover),
        _ => Err("drain or takeover is expected".to_owned()),
    }
}

fn path(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() { Err("a path is expected".to_owned()) } else { Ok(value.into()) }
}

/// Connections may last for days, so workers may take as long to finish.
const SECONDS_MAX: f64 = 30.0 * 86400.0;

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = value.parse().ok().filter(|seconds| (0.001..=SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("seconds from 0.001 to {SECONDS_MAX} are expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], command: Option<&[&str]>) -> Result<Daemon, String> {
        let arguments = Arguments::from_args(&["reactord", "supervise"], arguments).map_err(|exit| exit.output)?;
        let command = command.map(|command| command.iter().map(OsString::from).collect());
        arguments.daemon(command, || Ok(Vec::new()), || Ok("/run/x".into()))
    }

    #[test]
    fn a_port_and_a_command_are_enough() {
        let daemon = parsed(&["-p", "80", "-p", "0"], Some(&["worker", "-x"])).unwrap();
        let config = &daemon.config;
        assert_eq!(config.listen_addresses, ["127.0.0.1:80".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]);
        assert_eq!(config.command, ["worker", "-x"]);
        assert_eq!((config.workers, config.supply, config.replace), (1, Supply::Queue, Replace::Drain));
        assert!(!daemon.detach && !daemon.background);
        assert_eq!((daemon.pid_file, daemon.log_file), (None, None));
    }

    #[test]
    fn how_workers_that_accept_themselves_are_spoken_to_is_as_the_options_say() {
        let listening = |options: &[&str]| {
            let arguments = [&["-p", "80", "--hand-over", "listen"], options].concat();
            let config = parsed(&arguments, Some(&["x"])).unwrap().config;
            (config.finish_signal, config.ready)
        };
        assert_eq!(listening(&[]), (Signal::SIGTERM, Ready::Tcp));
        for name in ["QUIT", "SIGQUIT", "quit"] {
            assert_eq!(listening(&["--finish-signal", name]), (Signal::SIGQUIT, Ready::Tcp));
        }
        assert_eq!(listening(&["--ready", "notify"]).1, Ready::Notify);
        assert_eq!(listening(&["--ready", "after=1.5"]).1, Ready::After(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (arguments, command, said) in [
            (&["-p", "80"][..], None, "-- is missing"),
            (&["-p", "80"], Some(&[][..]), "no command follows --"),
            (&[], Some(&["x"]), "-p PORT"),
            (&["-p", "80", "--workers", "0"], Some(&["x"]), "1 to 1024"),
            (&["-p", "80", "--state-max", "64M"], Some(&["x"]), "0 to 17179869184"),
            (&["-p", "80", "--hand-over", "x"], Some(&["x"]), "queue or listen"),
            (&["-p", "80", "--drain-timeout", "-1"], Some(&["x"]), "0.001 to 2592000"),
            (&["-p", "80", "--drain-timeout", "NaN"], Some(&["x"]), "0.001 to 2592000"),
            (&["-p", "80", "--pid-file", ""], Some(&["x"]), "a path is expected"),
            (&["-p", "80", "--log-format", "xml"], Some(&["x"]), "text or json"),
            (&["-p", "80", "--log-format", "json", "--detach"], Some(&["x"]), "contradicts --detach without"),
            (&["-p", "80", "--log-file", "x"], Some(&["x"]), "--log-file is for --detach"),
            (&["-p", "80", "--hand-over", "listen", "--replace", "takeover"], Some(&["x"]), "contradicts"),
            (&["-p", "80", "--hand-over", "listen", "--rebalance"], Some(&["x"]), "contradicts"),
            (&["-p", "80", "--finish-signal", "QUIT"], Some(&["x"]), "--finish-signal is for --hand-over listen"),
            (&["-p", "80", "--ready", "tcp"], Some(&["x"]), "--ready is for --hand-over listen"),
            (&["-p", "80", "--finish-signal", "KILL"], Some(&["x"]), "HUP, INT, QUIT"),
            (&["-p", "80", "--ready", "after"], Some(&["x"]), "after=SECONDS"),
            (&["-p", "80", "--ready", "after=0"], Some(&["x"]), "0.001 to 2592000"),
            (
                &["-p", "80", "--hand-over", "listen", "--ready", "after=60"],
                Some(&["x"]),
                "after=60 contradicts --ready-timeout 60",
            ),
        ] {
            let error = parsed(arguments, command).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
