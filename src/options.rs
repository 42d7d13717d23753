//! The daemon's command line: what may be asked for, what goes together, and what it means as a `Config`.

mod moving;
mod reload;
mod status;
mod upgrade;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;
use log::LevelFilter;
use reactord::program::{Afterwards, Begins, Predecessor, check_length, checked_path, default_path};
use reactord::tls::{Certificate, ClientAuth, Pem, ServerSettings, Tls};
use reactord::worker::{PREDECESSOR_VARIABLE, TAKEOVER_VARIABLE};
use reactord::{Config, Inheritance, Listen, Program, Service, services};
use reactord_cli::arguments::usage_error;
use reactord_cli::listen_fds::{self, Passed};
use reactord_cli::logger::Format;
use reactord_cli::values::{address, address_and_port, backlog, count, log_format, milliseconds, port};
use reactord_process::adopted::At;
use reactord_supervisor::Daemon;

pub(crate) use moving::Move;
pub(crate) use reload::Reload;
pub(crate) use status::{LogOf, PeersOf, StatusOf};
pub(crate) use upgrade::{Check, UpgradeOf};

/// A TCP server that can be replaced while its connections stay open.
#[derive(FromArgs, Debug)]
#[argh(
    help_triggers("-h", "--help"),
    example = "Serve:      {command_name} -a 127.0.0.1 -p 1234 -t /tmp/.takeover\nUpgrade:    {command_name} upgrade /tmp/.takeover\nProxy:      {command_name} proxy 0.0.0.0:5432 10.0.0.7:5432",
    error_code(
        0,
        "Served until it was stopped, or handed over to a successor; or is not needed as a standby any more."
    ),
    error_code(1, "Could not serve: the port is busy, the takeover path is taken, ..."),
    error_code(2, "The command line cannot be understood, or contradicts itself."),
    error_code(3, "The takeover was refused or failed, or a standby cannot follow; who served goes on serving.")
)]
struct Arguments {
    /// address to listen on, IPv4 or IPv6 (default: 127.0.0.1)
    #[argh(option, short = 'a', arg_name = "ADDR", from_str_fn(address))]
    listen_address: Option<IpAddr>,

    /// port to listen on; 0 lets the kernel choose (default: 1234)
    #[argh(option, short = 'p', arg_name = "PORT", from_str_fn(port))]
    listen_port: Option<u16>,

    /// connections that may wait to be accepted (default: the kernel's maximum)
    #[argh(option, short = 'b', arg_name = "N", from_str_fn(backlog))]
    listen_backlog: Option<u32>,

    /// unix socket on which a successor calls (default: reactord.takeover in the user's runtime directory; with
    /// --takeover, the predecessor's; with --wait, none)
    #[argh(option, short = 't', arg_name = "PATH", from_str_fn(checked_path))]
    takeover_path: Option<PathBuf>,

    /// take over from the server that answers on this path, with its listener and all its peers
    #[argh(option, short = 'T', arg_name = "PATH", from_str_fn(checked_path))]
    takeover: Option<PathBuf>,

    /// follow the server that answers on this path, as its standby, and serve on when it has died
    #[argh(option, arg_name = "PATH", from_str_fn(checked_path))]
    follow: Option<PathBuf>,

    /// start a standby, which follows this server and serves on when it has died; and another one whenever that has ended
    #[argh(switch)]
    standby: bool,

    /// as a standby: how long the server that is followed may stand still before it is killed, in ms (default: for ever)
    #[argh(option, arg_name = "MS", from_str_fn(milliseconds))]
    standby_timeout: Option<Duration>,

    /// take over if somebody serves on the takeover path already, and serve otherwise
    #[argh(switch)]
    or_take_over: bool,

    /// serve the peers that the server on this path gives away, and wait there for more
    #[argh(option, short = 'c', arg_name = "PATH", from_str_fn(checked_path))]
    wait: Option<PathBuf>,

    /// serve the connections that a supervisor hands over, as one of its workers
    #[argh(switch)]
    worker: bool,

    /// what to serve: seqnum or line (default: seqnum; with --takeover, --follow and --wait, what comes)
    #[argh(option, arg_name = "NAME", from_str_fn(built_in))]
    service: Option<BuiltIn>,

    /// with the service line: give the peer that says STEAL to whoever has waited longest with --wait
    #[argh(switch)]
    steal: bool,

    /// say what happens to each peer and each message
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// what log lines look like: text, or json, one object a line (default: text)
    #[argh(option, arg_name = "text|json", default = "Format::Text", from_str_fn(log_format))]
    log_format: Format,

    /// what to do after a successor has taken over: exit, wait (until SIGTERM, without serving), or exit with a code of 0 to
    /// 255 (default: exit); process 1 of a container stays in any case while its successor is in there
    #[argh(option, arg_name = "exit|wait|CODE", default = "Afterwards::Exit(0)", from_str_fn(afterwards))]
    after_handover: Afterwards,

    /// how long a takeover may freeze the peers before they are served again, in ms (default: 1000)
    #[argh(option, arg_name = "MS", default = "Duration::from_secs(1)", from_str_fn(milliseconds))]
    freeze_timeout: Duration,

    /// how long a stop may take to deliver pending output, in ms (default: 5000)
    #[argh(option, arg_name = "MS", default = "Duration::from_secs(5)", from_str_fn(milliseconds))]
    drain_timeout: Duration,

    /// how long a peer that was closed may acknowledge nothing of its last output before it is given up, in ms; ten
    /// times as long while it answers that it has no room (default: 30000)
    #[argh(option, arg_name = "MS", default = "Duration::from_secs(30)", from_str_fn(milliseconds))]
    close_timeout: Duration,

    /// peers that are served at once at most (default: as many as files may be open)
    #[argh(option, arg_name = "N", default = "usize::MAX", from_str_fn(count))]
    max_peers: usize,

    /// answer /metrics, /healthz and /readyz over HTTP at this address, with its port
    #[argh(option, arg_name = "ADDR:PORT", from_str_fn(address_and_port))]
    metrics: Option<SocketAddr>,

    /// clients speak TLS: the server's certificate, PEM, with those that lead to its authority. A successor reads it anew
    #[argh(option, arg_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// the private key of that certificate, PEM
    #[argh(option, arg_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// only clients with a certificate of one of these authorities, PEM
    #[argh(option, arg_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// say which version this is
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    subcommand: Option<Subcommand>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Subcommand {
    Supervise(reactord_supervisor::Arguments),
    Move(moving::Arguments),
    Reload(Reload),
    Status(StatusOf),
    Peers(PeersOf),
    Log(LogOf),
    Upgrade(upgrade::UpgradeArguments),
    Check(Check),
}

/// The commands that ask a server.
const ASKING: [&str; 7] = ["move", "reload", "status", "peers", "log", "upgrade", "check"];

/// What the listener is called at which figures are to be had.
const METRICS: &str = "metrics";

/// The services that the daemon has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    /// Sequence numbers, echoed.
    Seqnum,
    /// Lines, echoed.
    Line,
    /// The same, and counted.
    #[cfg(feature = "fault-points")]
    Counted,
}

impl BuiltIn {
    pub(crate) const ALL: &[Self] = &[
        Self::Seqnum,
        Self::Line,
        #[cfg(feature = "fault-points")]
        Self::Counted,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seqnum => services::Seqnum::NAME,
            Self::Line => services::Line::NAME,
            #[cfg(feature = "fault-points")]
            Self::Counted => services::Counted::NAME,
        }
    }

    /// The service with this name, which is one of those that were offered.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|service| service.name() == name)
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// To say which version this is.
    Version,
    /// To listen and serve.
    Serve {
        service: BuiltIn,
        listen: Vec<Listen>,
        steals: bool,
        metrics: Option<Listen>,
        begins: Begins,
        config: Config,
    },
    /// To serve peers that another server gives away.
    Wait { services: Vec<BuiltIn>, steals: bool, metrics: Option<Listen>, config: Config },
    /// To have one server move peers to another.
    Move(Move),
    /// To have a supervisor replace its workers.
    Reload(Reload),
    /// To say how a server or a supervisor stands.
    Status(StatusOf),
    /// To say who its peers are.
    Peers(PeersOf),
    /// To have it log another level.
    Log(LogOf),
    /// To have a server start its successor.
    Upgrade(UpgradeOf),
    /// To say whether a server could be taken over.
    Check(Check),
    /// To serve what a supervisor hands over.
    Work { service: BuiltIn, config: Config },
    /// To take over from the server at this path, whichever of these services it runs; for a worker, from one like it.
    TakeOver { from: Predecessor, services: Vec<BuiltIn>, is_worker: bool, metrics: Option<Listen>, config: Config },
    /// To hold ports and feed workers.
    Supervise(Daemon),
}

impl Command {
    /// Whether this process becomes a server.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Serve { .. } | Self::Wait { .. } | Self::Work { .. } | Self::TakeOver { .. })
    }

    /// Where a server that this makes answers, and whoever takes over from it, if it is a server of its own.
    pub(crate) fn answers_on(&self) -> Option<&Path> {
        match self {
            Self::Serve { config, .. } | Self::Wait { config, .. } => config.takeover_path.as_deref(),
            Self::TakeOver { from, is_worker: false, config, .. } => {
                Some(config.takeover_path.as_deref().unwrap_or(from.path()))
            }
            _ => None,
        }
    }
}

/// What a process does, by its command line.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) command: Command,
    /// How much is to be logged, and how it is to look.
    pub(crate) log_level: LevelFilter,
    pub(crate) log_format: Format,
    /// What comes after a takeover.
    pub(crate) afterwards: Afterwards,
}

/// What the command line asks for.
///
/// # Errors
/// The exit code to leave with, after what is to be said has been said.
pub(crate) fn parse() -> Result<Parsed, std::process::ExitCode> {
    let mut own = std::env::args_os().skip(1);
    let before: Vec<OsString> = own.by_ref().take_while(|argument| argument != "--").collect();
    // What follows belongs to another program, and need not even be text.
    let after = std::env::args_os().skip(1).any(|argument| argument == "--").then(|| own.collect());
    let supervises = before.first().is_some_and(|argument| argument == "supervise");
    let asking = ASKING.into_iter().find(|command| before.first().is_some_and(|argument| argument == command));
    let program = match asking {
        Some(command) => format!("reactord {command}"),
        None if supervises => "reactord supervise".to_owned(),
        None => "reactord".to_owned(),
    };
    let program = &*program;
    if supervises && after.is_none() && !before.iter().any(|argument| argument == "-h" || argument == "--help") {
        // Otherwise the command would be taken for an option.
        return Err(usage_error(program, "-- is missing: reactord supervise -p PORT -- COMMAND ARGS"));
    }
    let first = before.first().cloned().unwrap_or_default();
    let arguments: Arguments = reactord_cli::arguments::parse_these(program, before.into_iter())?;
    if arguments.subcommand.is_some() && !supervises && asking.is_none() {
        // Otherwise these options would be without effect.
        return Err(usage_error(
            program,
            &format!("{} stands before the command, whose options follow it", first.display()),
        ));
    }
    let (verbose, log_format) = match &arguments.subcommand {
        Some(Subcommand::Supervise(supervise)) => (supervise.verbose, supervise.log_format),
        Some(_) | None => (arguments.verbose, arguments.log_format),
    };
    let log_level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let afterwards = arguments.after_handover;
    let told = Inheritance::from_environment();
    let command = command(arguments, after, told, listen_fds::take).map_err(|error| usage_error(program, &error))?;
    Ok(Parsed { command, log_level, log_format, afterwards })
}

/// What these arguments mean for a process that takes the sockets that were passed to it, if it is to listen, and that its
/// predecessor has started, if it has.
fn command(
    mut arguments: Arguments,
    after: Option<Vec<OsString>>,
    told: Option<Inheritance>,
    passed: impl FnOnce() -> Result<Vec<Passed>, String>,
) -> Result<Command, String> {
    if arguments.version {
        return Ok(Command::Version);
    }
    if let Some(subcommand) = arguments.subcommand.take() {
        return command_of(subcommand, after, passed);
    }
    nothing_follows(after.as_deref())?;
    let config = Config { tls: arguments.tls()?, ..arguments.config() };
    if config.tls.is_some() && arguments.wait.is_some() && !arguments.worker {
        return Err("--tls-cert is for who lets clients in: who waits for peers does not".to_owned());
    }
    arguments.check_standby()?;
    if arguments.worker {
        return worker_command(&arguments, told, config, |name| std::env::var_os(name).map(PathBuf::from));
    }
    if arguments.steal && !arguments.may_serve_lines() {
        return Err("--steal is for --service line: no other service reads STEAL".to_owned());
    }
    if arguments.wait.is_some() && arguments.wait.as_ref() == arguments.own_path() {
        return Err("--wait has the path of the server itself: it cannot wait for itself".to_owned());
    }
    let config = Config { successor: Some(Program::of_this_process()), upgrade_on_hangup: true, ..config };
    if arguments.wait.is_some() && arguments.takeover.is_none() {
        return wait_command(&arguments, told, config);
    }
    if arguments.or_take_over && arguments.takeover.is_some() {
        return Err("--or-take-over contradicts --takeover: the path is that of --takeover-path".to_owned());
    }
    if let Some(path) = arguments.follow.clone() {
        // It has survived by now if somebody has started it, and starts its own successor or its own standby.
        return go_on_command(&arguments, told, Predecessor::FollowedOn(path), FOLLOWS, config);
    }
    match arguments.takeover.clone() {
        Some(path) => go_on_command(&arguments, told, Predecessor::On(path), TAKES_OVER, config),
        None => serve_command(&arguments, told, passed, config),
    }
}

/// What a process is to do that is told so by its first word.
fn command_of(
    subcommand: Subcommand,
    after: Option<Vec<OsString>>,
    passed: impl FnOnce() -> Result<Vec<Passed>, String>,
) -> Result<Command, String> {
    let alone = nothing_follows(after.as_deref());
    match subcommand {
        Subcommand::Supervise(supervise) => {
            supervise.daemon(after, passed, default_supervisor_path).map(Command::Supervise)
        }
        Subcommand::Upgrade(upgrade) => Ok(Command::Upgrade(upgrade.request(after))),
        Subcommand::Move(arguments) => alone.and_then(|()| arguments.request()).map(Command::Move),
        Subcommand::Reload(arguments) => alone.map(|()| Command::Reload(arguments)),
        Subcommand::Status(arguments) => alone.and_then(|()| arguments.checked()).map(Command::Status),
        Subcommand::Peers(arguments) => alone.map(|()| Command::Peers(arguments)),
        Subcommand::Log(arguments) => alone.map(|()| Command::Log(arguments)),
        Subcommand::Check(check) => alone.map(|()| Command::Check(check)),
    }
}

/// Most command lines end before `--`.
fn nothing_follows(after: Option<&[OsString]>) -> Result<(), String> {
    match after.and_then(<[_]>::first) {
        Some(argument) => Err(format!("nothing may follow --, but {argument:?} does")),
        None => Ok(()),
    }
}

/// What a server is to do that listens.
fn serve_command(
    arguments: &Arguments,
    told: Option<Inheritance>,
    passed: impl FnOnce() -> Result<Vec<Passed>, String>,
    config: Config,
) -> Result<Command, String> {
    let service = arguments.service.unwrap_or(BuiltIn::Seqnum);
    let listen = match &told {
        // It may have been passed its sockets, and has them still.
        Some(_) if arguments.listening().is_none() => Vec::new(),
        Some(_) => arguments.listen(service, Vec::new(), config.tls.as_ref())?,
        None => arguments.listen(service, passed()?, config.tls.as_ref())?,
    };
    let takeover_path = Some(config.takeover_path.map_or_else(default_takeover_path, Ok)?);
    let config = Config { takeover_path, ..config };
    let begins = match told {
        Some(inheritance) => Begins::AsTold(inheritance),
        None if arguments.or_take_over => Begins::OrTakesOver,
        None => Begins::Anew,
    };
    let (steals, metrics) = (arguments.steal, arguments.metrics());
    Ok(Command::Serve { service, listen, steals, metrics, begins, config })
}

/// Why a process that goes on with what another one serves is told neither the service nor the listener.
const TAKES_OVER: [&str; 2] =
    ["--takeover: the service is as the predecessor has it", "--takeover: the listener comes with the takeover"];
const FOLLOWS: [&str; 2] = [
    "--follow: the service is as that of the server that is followed",
    "--follow: the listener is that of the server that is followed",
];

/// What a process is to do that goes on with what another one serves, which is at `from` unless that has started it. The service and
/// the listener are not for the option to say that this was asked with, for these reasons.
fn go_on_command(
    arguments: &Arguments,
    told: Option<Inheritance>,
    from: Predecessor,
    [service, listener]: [&str; 2],
    config: Config,
) -> Result<Command, String> {
    if arguments.steal {
        return Err(format!("--steal contradicts {service}"));
    }
    if let Some(option) = arguments.listening() {
        return Err(format!("{option} contradicts {listener}"));
    }
    let from = told.map_or(from, Predecessor::Starter);
    let (services, metrics) = (arguments.services(), arguments.metrics());
    Ok(Command::TakeOver { from, services, is_worker: false, metrics, config })
}

/// What a process is to do that serves whom others give away.
fn wait_command(arguments: &Arguments, told: Option<Inheritance>, config: Config) -> Result<Command, String> {
    if let Some(option) = arguments.listening() {
        return Err(format!("{option} contradicts --wait: peers come from the server on that path"));
    }
    if arguments.or_take_over {
        return Err("--or-take-over contradicts --wait: who waits does not listen".to_owned());
    }
    let (services, metrics) = (arguments.services(), arguments.metrics());
    if let Some(inheritance) = told {
        let from = Predecessor::Starter(inheritance);
        return Ok(Command::TakeOver { from, services, is_worker: false, metrics, config });
    }
    Ok(Command::Wait { services, steals: arguments.steal, metrics, config })
}

/// What a supervisor's worker is to do, as the supervisor says in the environment.
fn worker_command(
    arguments: &Arguments,
    told: Option<Inheritance>,
    config: Config,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Result<Command, String> {
    if let Some(option) = arguments.listening() {
        return Err(format!("{option} contradicts --worker: the supervisor listens"));
    }
    let paths = [
        ("--takeover-path", &arguments.takeover_path),
        ("--takeover", &arguments.takeover),
        ("--wait", &arguments.wait),
    ];
    if let Some((option, _)) = paths.into_iter().find(|(_, given)| given.is_some()) {
        return Err(format!("{option} contradicts --worker: the supervisor chooses the path"));
    }
    if arguments.or_take_over {
        return Err("--or-take-over contradicts --worker: the supervisor says whom to take over from".to_owned());
    }
    if arguments.steal {
        return Err("--steal contradicts --worker: nobody waits at a worker's path".to_owned());
    }
    if arguments.metrics.is_some() {
        return Err("--metrics contradicts --worker: all workers would have one port".to_owned());
    }
    let path_in = |name| variable(name).map(check_length).transpose().map_err(|error| format!("{name}: {error}"));
    let config = Config { takeover_path: path_in(TAKEOVER_VARIABLE)?, ..config };
    if arguments.standby && config.takeover_path.is_none() {
        return Err(format!(
            "--standby of a worker needs a supervisor with --replace takeover: there is no {TAKEOVER_VARIABLE}"
        ));
    }
    let from = match told.filter(Inheritance::follows) {
        Some(told) => Some(Predecessor::Starter(told)),
        None => path_in(PREDECESSOR_VARIABLE)?.map(Predecessor::On),
    };
    Ok(match from {
        Some(from) => {
            let services = arguments.services();
            Command::TakeOver { from, services, is_worker: true, metrics: None, config }
        }
        None => Command::Work { service: arguments.service.unwrap_or(BuiltIn::Seqnum), config },
    })
}

impl Arguments {
    /// What any server or worker is told by them.
    fn config(&self) -> Config {
        Config {
            takeover_path: self.takeover_path.clone(),
            wait_path: self.wait.clone(),
            max_peers: self.max_peers,
            freeze_timeout: self.freeze_timeout,
            drain_timeout: self.drain_timeout,
            close_timeout: self.close_timeout,
            standby: self.standby.then(Program::of_this_process),
            standby_timeout: self.standby_timeout,
            survive_signals: true,
            ..Config::default()
        }
    }

    /// The first option that is about listening.
    fn listening(&self) -> Option<&'static str> {
        let options = [
            ("--listen-address", self.listen_address.is_some()),
            ("--listen-port", self.listen_port.is_some()),
            ("--listen-backlog", self.listen_backlog.is_some()),
        ];
        options.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// # Errors
    /// If what is asked for contradicts having a standby, or being one.
    fn check_standby(&self) -> Result<(), String> {
        let (option, is_one) = if self.follow.is_some() { ("--follow", true) } else { ("--standby", self.standby) };
        if !is_one {
            return match self.standby_timeout {
                Some(_) => Err("--standby-timeout is for --standby and --follow".to_owned()),
                None => Ok(()),
            };
        }
        if self.worker && self.follow.is_some() {
            return Err("--follow contradicts --worker: a worker starts its standby itself (--standby)".to_owned());
        }
        if self.wait.is_some() {
            return Err(format!("{option} contradicts --wait: a server with a standby has its peers to itself"));
        }
        let others = [("--takeover", self.takeover.is_some()), ("--takeover-path", self.takeover_path.is_some())];
        let other = others.into_iter().chain([("--or-take-over", self.or_take_over)]).find(|(_, given)| *given);
        match other {
            Some((other, _)) if self.follow.is_some() => {
                Err(format!("{other} contradicts --follow: it serves on where the server does that it follows"))
            }
            _ => Ok(()),
        }
    }

    /// Whether what is served may be lines: whoever waits serves what comes, unless one service is named.
    fn may_serve_lines(&self) -> bool {
        self.service.map_or(self.wait.is_some(), |service| service == BuiltIn::Line)
    }

    /// Where the server is called, if that is said: a successor keeps the path of its predecessor.
    fn own_path(&self) -> Option<&PathBuf> {
        self.takeover_path.as_ref().or(self.takeover.as_ref())
    }

    /// Where to listen: on the sockets that were passed, or else where these arguments say.
    fn listen(&self, service: BuiltIn, passed: Vec<Passed>, tls: Option<&Tls>) -> Result<Vec<Listen>, String> {
        let address = self.listen_address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let at = SocketAddr::new(address, self.listen_port.unwrap_or(1234));
        let with_backlog = |listen| Listen { backlog: self.listen_backlog, tls: tls.cloned(), ..listen };
        if passed.is_empty() {
            return Ok(vec![with_backlog(Listen::on(service.name(), at))]);
        }
        let is_chosen = self.listen_address.is_some() || self.listen_port.is_some();
        if is_chosen && !passed.iter().any(|passed| *passed.socket.at() == At::Tcp(at)) {
            return Err(format!(
                "{at} is none of the sockets that the service manager has passed: --listen-address and --listen-port may be left \
                 out, or name one of them"
            ));
        }
        Ok(listen_fds::with_distinct_names(passed)
            .map(|(name, socket)| with_backlog(Listen::on_socket(name, socket)))
            .collect())
    }

    /// What clients speak TLS with, if they are to.
    fn tls(&self) -> Result<Option<Tls>, String> {
        let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            let options = [
                ("--tls-cert", &self.tls_cert),
                ("--tls-key", &self.tls_key),
                ("--tls-client-ca", &self.tls_client_ca),
            ];
            let given = options.into_iter().find(|(_, file)| file.is_some());
            return match given {
                Some((option, _)) => Err(format!("{option} needs both --tls-cert and --tls-key")),
                None => Ok(None),
            };
        };
        let read = |file: &PathBuf| Pem::read(file).map_err(|error| error.to_string());
        let client_auth = match &self.tls_client_ca {
            Some(authorities) => ClientAuth::Required(read(authorities)?),
            None => ClientAuth::None,
        };
        let certificates = vec![Certificate { chain: read(chain)?, key: read(key)? }];
        let settings = ServerSettings { certificates, client_auth, ..ServerSettings::default() };
        Tls::new(&settings).map(Some).map_err(|error| error.to_string())
    }

    /// Where figures are to be had.
    fn metrics(&self) -> Option<Listen> {
        self.metrics.map(|at| Listen::on(METRICS, at))
    }

    /// What a successor can run.
    fn services(&self) -> Vec<BuiltIn> {
        self.service.map_or(BuiltIn::ALL.to_vec(), |service| vec![service])
    }
}

/// Where a supervisor is asked, if no path is chosen: beside a server's.
fn default_supervisor_path() -> Result<PathBuf, String> {
    default_path("reactord.supervise")
}

/// Where a server is called, if no path is chosen.
fn default_takeover_path() -> Result<PathBuf, String> {
    default_path("reactord.takeover")
}

fn afterwards(value: &str) -> Result<Afterwards, String> {
    Afterwards::parse(value)
}

fn built_in(value: &str) -> Result<BuiltIn, String> {
    let names = BuiltIn::ALL.iter().map(|service| service.name()).collect::<Vec<_>>().join(" or ");
    BuiltIn::from_name(value).ok_or_else(|| format!("{names} is expected"))
}

#[cfg(test)]
mod tests {
    use reactord_process::adopted::Adopted;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        let arguments = Arguments::from_args(&["reactord"], arguments).map_err(|exit| exit.output)?;
        command(arguments, None, None, || Ok(Vec::new()))
    }

    #[test]
    fn serving_needs_no_option_but_a_private_path() {
        let Ok(Command::Serve { service, listen, steals: false, metrics: None, begins: Begins::Anew, config }) =
            parsed(&["-t", "/tmp/x"])
        else {
            panic!()
        };
        assert_eq!(service, BuiltIn::Seqnum);
        assert_eq!(listen, [Listen::on("seqnum", SocketAddr::from(([127, 0, 0, 1], 1234)))]);
        assert_eq!(config.takeover_path, Some("/tmp/x".into()));
        assert_eq!((config.freeze_timeout, config.max_peers), (Duration::from_secs(1), usize::MAX));
    }

    #[test]
    fn sockets_that_were_passed_are_listened_on_and_the_command_line_may_name_one_of_them() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let socket = Adopted::new(socket.into()).unwrap();
        let parsed = |arguments: &[&str]| {
            let arguments = Arguments::from_args(&["reactord"], arguments).unwrap();
            let passed = || Passed { name: "clients".to_owned(), socket: socket.clone() };
            command(arguments, None, None, || Ok(vec![passed(), passed()]))
        };
        let port = at.port().to_string();
        for arguments in [&["-t", "/tmp/x"][..], &["-t", "/tmp/x", "-p", &port]] {
            let Ok(Command::Serve { listen, .. }) = parsed(arguments) else { panic!() };
            let expected = ["clients", "clients-2"].map(|name| Listen::on_socket(name, socket.clone()));
            assert_eq!(listen, expected);
        }
        let error = parsed(&["-t", "/tmp/x", "-p", "1"]).unwrap_err();
        assert!(error.contains("127.0.0.1:1 is none of the sockets"), "{error}");
    }

    #[test]
    fn taking_over_offers_all_services_unless_one_is_named() {
        let Ok(Command::TakeOver { from, services, is_worker: false, metrics: None, config }) =
            parsed(&["-T", "/tmp/x"])
        else {
            panic!()
        };
        assert_eq!((from, services), (Predecessor::On("/tmp/x".into()), vec![BuiltIn::Seqnum, BuiltIn::Line]));
        assert_eq!(config.takeover_path, None);
        let Ok(Command::TakeOver { services, .. }) = parsed(&["-T", "/tmp/x", "--service", "line"]) else { panic!() };
        assert_eq!(services, [BuiltIn::Line]);
    }

    #[test]
    fn what_comes_with_a_takeover_cannot_be_chosen() {
        for option in [["-a", "::1"], ["-p", "1"], ["-b", "1"]] {
            let error = parsed(&[&["-T", "/tmp/x"], &option[..]].concat()).unwrap_err();
            assert!(error.contains("contradicts --takeover"), "{error}");
        }
    }

    #[test]
    fn who_waits_does_not_listen_and_may_serve_anything() {
        let Ok(Command::Wait { services, steals: false, metrics: None, config }) =
            parsed(&["-c", "/tmp/x", "-t", "/tmp/y"])
        else {
            panic!()
        };
        assert_eq!(services, BuiltIn::ALL);
        assert_eq!((config.wait_path, config.takeover_path), (Some("/tmp/x".into()), Some("/tmp/y".into())));
        for (arguments, why) in [
            (["-c", "/tmp/x", "-p", "1"], "--listen-port contradicts --wait"),
            (["-c", "/tmp/x", "-t", "/tmp/x"], "cannot wait for itself"),
            (["-c", "/tmp/x", "-T", "/tmp/x"], "cannot wait for itself"),
            (["--steal", "--service", "seqnum", "-v"], "--steal is for --service line"),
        ] {
            let error = parsed(&arguments).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let error = parsed(&["-c", "/tmp/x", "--steal", "--service", "seqnum"]).unwrap_err();
        assert!(error.contains("--steal is for --service line"), "{error}");
        // Whoever goes to another path may wait at the one that is left.
        let moved = parsed(&["-T", "/tmp/x", "-t", "/tmp/y", "-c", "/tmp/x"]);
        assert!(matches!(moved, Ok(Command::TakeOver { .. })), "{moved:?}");
    }

    #[test]
    fn a_worker_is_told_its_paths_by_the_supervisor() {
        let parsed = |arguments: &[&str], takeover: Option<&str>, predecessor: Option<&str>| {
            let arguments = Arguments::from_args(&["reactord"], arguments).unwrap();
            worker_command(&arguments, None, Config::default(), |name| {
                assert!([TAKEOVER_VARIABLE, PREDECESSOR_VARIABLE].contains(&name));
                if name == TAKEOVER_VARIABLE { takeover } else { predecessor }.map(PathBuf::from)
            })
        };
        let config = |path: Option<&str>| Config { takeover_path: path.map(PathBuf::from), ..Config::default() };
        let alone = Command::Work { service: BuiltIn::Line, config: config(None) };
        assert_eq!(parsed(&["--worker", "--service", "line"], None, None), Ok(alone));
        let first = Command::Work { service: BuiltIn::Seqnum, config: config(Some("/tmp/x")) };
        assert_eq!(parsed(&["--worker"], Some("/tmp/x"), None), Ok(first));
        let (from, services) = (Predecessor::On("/tmp/x".into()), BuiltIn::ALL.to_vec());
        let second =
            Command::TakeOver { from, services, is_worker: true, metrics: None, config: config(Some("/tmp/y")) };
        assert_eq!(parsed(&["--worker"], Some("/tmp/y"), Some("/tmp/x")), Ok(second));
        let error = parsed(&["--worker"], Some(""), None).unwrap_err();
        assert!(error.starts_with("REACTORD_TAKEOVER: the path has 0 bytes"), "{error}");
        let error = parsed(&["--worker", "--standby"], None, None).unwrap_err();
        assert!(error.contains("--replace takeover"), "{error}");
        assert!(parsed(&["--worker", "--standby"], Some("/tmp/x"), None).is_ok());
    }

    #[test]
    fn figures_are_to_be_had_where_one_serves_waits_or_takes_over() {
        let listen = Some(Listen::on("metrics", SocketAddr::from(([127, 0, 0, 1], 9100))));
        for way in [&["-t", "/tmp/x"], &["-c", "/tmp/x"], &["-T", "/tmp/x"]] {
            let arguments = [&way[..], &["--metrics", "127.0.0.1:9100"]].concat();
            let Ok(Command::Serve { metrics, .. } | Command::Wait { metrics, .. } | Command::TakeOver { metrics, .. }) =
                parsed(&arguments)
            else {
                panic!()
            };
            assert_eq!(metrics, listen);
        }
    }

    #[test]
    fn a_worker_neither_listens_nor_chooses_its_paths() {
        for option in
            [["-a", "::1"], ["-p", "1"], ["-b", "1"], ["-t", "/tmp/x"], ["-T", "/tmp/x"], ["--metrics", "[::1]:1"]]
        {
            let error = parsed(&[&["--worker"], &option[..]].concat()).unwrap_err();
            assert!(error.contains("contradicts --worker"), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let long_path = "x".repeat(150);
        for (arguments, value, allowed) in [
            (["-p", "99999"], "99999", "0 to 65535"),
            (["-p", "-1"], "-1", "0 to 65535"),
            (["-a", "localhost"], "localhost", "IPv4 or IPv6"),
            (["-t", &long_path], "150 bytes", "1 to 107"),
            (["-T", ""], "0 bytes", "1 to 107"),
            (["--service", "http"], "http", "seqnum or line"),
            (["--max-peers", "0"], "0", "1 to 1000000000"),
            (["--freeze-timeout", "soon"], "soon", "1 to 3600000"),
            (["-b", "-5"], "-5", "1 to"),
            (["--metrics", "9100"], "9100", "such as 127.0.0.1:9100"),
        ] {
            let error = parsed(&arguments).unwrap_err();
            assert!(error.contains(value) && error.contains(allowed), "{error}");
        }
    }
}
