//! The command line of `reactord-proxy`: what may be asked for, what goes together, and what it means.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use log::LevelFilter;
use reactord::Inheritance;
use reactord::program::{Afterwards, Begins, Predecessor, checked_path};
use reactord_cli::arguments::{parse_these, usage_error};
use reactord_cli::logger::Format;
use reactord_cli::values::{address_and_port, log_format, milliseconds};
use reactord_proxy::words::Question;

/// A TCP proxy whose established connections outlive its upgrades and its configurations.
#[derive(FromArgs, Debug)]
#[argh(
    help_triggers("-h", "--help"),
    example = "Serve:      {command_name} 0.0.0.0:5432 10.0.0.7:5432\nFrom file:  {command_name} -c /etc/reactord/proxy.toml\nCheck:      {command_name} --check /etc/reactord/proxy.toml\nReplace:    reactord upgrade PATH\nAsk:        {command_name} ctl PATH status|connections\nControl:    {command_name} ctl PATH drain|close|enable SERVER",
    note = "A changed file is taken up by `reactord upgrade PATH` or SIGHUP: a successor reads it and takes over. If anything is wrong with it, the process serves on as it was. `reactord status`, `peers`, `log` and `check` work on the same path.",
    error_code(0, "Served until it was stopped, or handed over to a successor; or the file has no mistakes."),
    error_code(1, "Could not serve: the file has mistakes, a port is busy, ..."),
    error_code(2, "The command line cannot be understood, or contradicts itself."),
    error_code(
        3,
        "The takeover was refused or failed, and the predecessor goes on serving; or what was asked was not done."
    )
)]
struct Arguments {
    /// LISTEN and UPSTREAM: where to listen, ADDR:PORT or unix:PATH, and where all clients are led, ADDR:PORT, NAME:PORT or
    /// unix:PATH
    #[argh(positional, arg_name = "PLACE")]
    places: Vec<String>,

    /// configuration, instead of LISTEN and UPSTREAM
    #[argh(option, short = 'c', arg_name = "FILE")]
    config: Option<PathBuf>,

    /// say what is wrong with a configuration, each mistake with its line and column, and serve nobody
    #[argh(option, arg_name = "FILE")]
    check: Option<PathBuf>,

    /// unix socket on which a successor calls, and whoever asks (default: that of the configuration, or
    /// reactord-proxy.takeover in the user's runtime directory; with --takeover, the predecessor's)
    #[argh(option, short = 't', arg_name = "PATH", from_str_fn(checked_path))]
    takeover_path: Option<PathBuf>,

    /// take over from the proxy that answers on this path, with its listeners and all its connections
    #[argh(option, short = 'T', arg_name = "PATH", from_str_fn(checked_path))]
    takeover: Option<PathBuf>,

    /// take over if somebody serves on the takeover path already, and serve otherwise
    #[argh(switch)]
    or_take_over: bool,

    /// answer /metrics, /healthz and /readyz over HTTP at this address (default: that of the configuration)
    #[argh(option, arg_name = "ADDR:PORT", from_str_fn(address_and_port))]
    metrics: Option<SocketAddr>,

    /// say what happens to each connection
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// what log lines look like: text, or json, one object a line (default: text)
    #[argh(option, arg_name = "text|json", default = "Format::Text", from_str_fn(log_format))]
    log_format: Format,

    /// what to do after a successor has taken over: exit, wait (until SIGTERM, without serving), or exit with a code of 0 to
    /// 255 (default: exit)
    #[argh(option, arg_name = "exit|wait|CODE", default = "Afterwards::Exit(0)", from_str_fn(afterwards))]
    after_handover: Afterwards,

    /// how long a takeover may freeze the connections before they are served again, in ms (default: 1000)
    #[argh(option, arg_name = "MS", default = "Duration::from_secs(1)", from_str_fn(milliseconds))]
    freeze_timeout: Duration,

    /// how long a stop may take to deliver pending output, in ms (default: 5000)
    #[argh(option, arg_name = "MS", default = "Duration::from_secs(5)", from_str_fn(milliseconds))]
    drain_timeout: Duration,

    /// say which version this is
    #[argh(switch)]
    version: bool,
}

/// Ask a proxy that runs, or have it do something with a server.
#[derive(FromArgs, Debug)]
#[argh(
    help_triggers("-h", "--help"),
    note = "drain: the server gets no new clients, and keeps those that it has. close: the same, and its connections are cut. enable: it gets clients again. status: how all servers stand. connections: all clients, one a line. Servers are named UPSTREAM/SERVER, as in status.",
    error_code(0, "It is done, or answered."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "It is not done, and why is said.")
)]
struct CtlArguments {
    /// takeover path of the proxy
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    path: PathBuf,

    /// drain, close, enable, status or connections
    #[argh(positional, arg_name = "WORD")]
    word: String,

    /// the server, for drain, close and enable
    #[argh(positional, arg_name = "SERVER")]
    server: Option<String>,
}

/// Say whether a takeover from a proxy by this program would succeed. Nothing is changed by that.
#[derive(FromArgs, Debug)]
#[argh(help_triggers("-h", "--help"))]
struct CheckArguments {
    /// takeover path of the proxy
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    path: PathBuf,
}

/// What the process is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// To say which version this is.
    Version,
    /// To say what is wrong with a file.
    CheckFile(PathBuf),
    /// To ask a proxy something.
    Ctl { path: PathBuf, what: Asked },
    /// To say whether a takeover would succeed.
    Check(PathBuf),
    /// To serve.
    Serve(Serve),
}

/// What a proxy is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One question.
    Question(Question),
    /// How all servers stand.
    Servers,
    /// Who all clients are.
    Connections,
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Serve {
    pub(crate) source: Source,
    pub(crate) takeover_path: Option<PathBuf>,
    pub(crate) way: Way,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) after_handover: Afterwards,
    pub(crate) freeze_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// How to begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Begins(Begins),
    TakesOver(Predecessor),
}

/// Where the configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Simple { listen: String, upstream: String },
}

/// What a process does, by its command line.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) command: Command,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_format: Format,
}

const PROGRAM: &str = "reactord-proxy";

/// What the command line asks for.
///
/// # Errors
/// The exit code to leave with, after what is to be said has been said.
pub(crate) fn parse() -> Result<Parsed, ExitCode> {
    let all: Vec<OsString> = std::env::args_os().skip(1).collect();
    let rest = || all.iter().skip(1).cloned();
    let command = match all.first().and_then(|first| first.to_str()) {
        Some("ctl") => ctl(parse_these("reactord-proxy ctl", rest())?)
            .map_err(|error| usage_error("reactord-proxy ctl", &error))?,
        Some("check") => Command::Check(parse_these::<CheckArguments>("reactord-proxy check", rest())?.path),
        _ => {
            let arguments: Arguments = parse_these(PROGRAM, all.into_iter())?;
            let log_level = if arguments.verbose { LevelFilter::Debug } else { LevelFilter::Info };
            let log_format = arguments.log_format;
            let command = command(arguments, Inheritance::from_environment());
            let command = command.map_err(|error| usage_error(PROGRAM, &error))?;
            return Ok(Parsed { command, log_level, log_format });
        }
    };
    Ok(Parsed { command, log_level: LevelFilter::Info, log_format: Format::Text })
}

fn ctl(CtlArguments { path, word, server }: CtlArguments) -> Result<Command, String> {
    let named = |question: fn(String) -> Question| {
        let server = server.clone().ok_or_else(|| format!("{word} is about a server: which is missing"))?;
        Ok::<Asked, String>(Asked::Question(question(server)))
    };
    let unnamed = |asked| match &server {
        Some(server) => Err(format!("{word} is about all servers, but {server:?} follows it")),
        None => Ok(asked),
    };
    let what = match &*word {
        "drain" => named(Question::Drain),
        "close" => named(Question::Close),
        "enable" => named(Question::Enable),
        "status" => unnamed(Asked::Servers),
        "connections" => unnamed(Asked::Connections),
        _ => Err(format!("{word:?} is none of drain, close, enable, status and connections")),
    }?;
    Ok(Command::Ctl { path, what })
}

/// What these arguments mean for a process that its predecessor has started, if it has.
fn command(arguments: Arguments, told: Option<Inheritance>) -> Result<Command, String> {
    if arguments.version {
        return Ok(Command::Version);
    }
    if let Some(file) = arguments.check {
        return Ok(Command::CheckFile(file));
    }
    let source = match (arguments.config, &*arguments.places) {
        (Some(file), []) => Source::File(file),
        (None, [listen, upstream]) => Source::Simple { listen: listen.clone(), upstream: upstream.clone() },
        (Some(_), [first, ..]) => return Err(format!("{first} contradicts --config: that says where to listen")),
        (None, [_]) => return Err("UPSTREAM is missing: where are the clients of LISTEN to be led?".to_owned()),
        (None, []) => return Err("LISTEN and UPSTREAM are missing, or a configuration with -c FILE".to_owned()),
        (None, [_, _, third, ..]) => return Err(format!("{third} follows LISTEN and UPSTREAM, and nothing may")),
    };
    if arguments.or_take_over && arguments.takeover.is_some() {
        return Err("--or-take-over contradicts --takeover: the path is that of --takeover-path".to_owned());
    }
    let way = match (told, arguments.takeover) {
        (Some(inheritance), None) => Way::Begins(Begins::AsTold(inheritance)),
        (Some(inheritance), Some(_)) => Way::TakesOver(Predecessor::Starter(inheritance)),
        (None, Some(path)) => Way::TakesOver(Predecessor::On(path)),
        (None, None) if arguments.or_take_over => Way::Begins(Begins::OrTakesOver),
        (None, None) => Way::Begins(Begins::Anew),
    };
    Ok(Command::Serve(Serve {
        source,
        takeover_path: arguments.takeover_path,
        way,
        metrics: arguments.metrics,
        after_handover: arguments.after_handover,
        freeze_timeout: arguments.freeze_timeout,
        drain_timeout: arguments.drain_timeout,
    }))
}

fn afterwards(value: &str) -> Result<Afterwards, String> {
    Afterwards::parse(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        command(Arguments::from_args(&[PROGRAM], arguments).map_err(|exit| exit.output)?, None)
    }

    fn asked(arguments: &[&str]) -> Result<Command, String> {
        ctl(CtlArguments::from_args(&[PROGRAM], arguments).map_err(|exit| exit.output)?)
    }

    #[test]
    fn where_to_listen_and_to_lead_to_is_said_or_is_in_a_file() {
        let Ok(Command::Serve(serve)) = parsed(&["127.0.0.1:1", "db:5432", "-t", "/a"]) else { panic!() };
        assert_eq!(serve.source, Source::Simple { listen: "127.0.0.1:1".to_owned(), upstream: "db:5432".to_owned() });
        assert_eq!((serve.way, serve.takeover_path), (Way::Begins(Begins::Anew), Some("/a".into())));
        let Ok(Command::Serve(serve)) = parsed(&["-c", "/f", "-T", "/a"]) else { panic!() };
        assert_eq!(serve.source, Source::File("/f".into()));
        assert_eq!(serve.way, Way::TakesOver(Predecessor::On("/a".into())));
        assert_eq!(parsed(&["--check", "/f"]), Ok(Command::CheckFile("/f".into())));
        for (arguments, culprit) in [
            (&["127.0.0.1:1"][..], "UPSTREAM is missing"),
            (&[], "LISTEN and UPSTREAM are missing"),
            (&["-c", "/f", "127.0.0.1:1"], "contradicts --config"),
            (&["-c", "/f", "-T", "/a", "--or-take-over"], "--or-take-over contradicts --takeover"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(culprit), "{error}");
        }
    }

    #[test]
    fn a_proxy_is_asked_about_one_server_or_about_all() {
        let server = || "main/a".to_owned();
        let what = |word: &str| {
            asked(&["/a", word, "main/a"]).map(|command| match command {
                Command::Ctl { what: Asked::Question(question), .. } => question,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(what("drain"), Ok(Question::Drain(server())));
        assert_eq!(what("close"), Ok(Question::Close(server())));
        assert_eq!(what("enable"), Ok(Question::Enable(server())));
        let connections = Command::Ctl { path: "/a".into(), what: Asked::Connections };
        assert_eq!(asked(&["/a", "connections"]), Ok(connections));
        for wrong in [&["/a", "drain"][..], &["/a", "status", "main/a"], &["/a", "kill"]] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }
}
