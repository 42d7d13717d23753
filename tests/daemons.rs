//! Daemons that know nothing of `reactord supervise`, and get its listening sockets: a new generation of them takes the place of
//! the one before, and no request is lost. What each of them needs for that, and what their clients see, is a table in
//! docs/supervisor.md, which these tests compare with what they see; with `REACTORD_WRITE_DAEMONS=1` they write it.
//!
//! `kinds` has workers of every kind that is not quite what one expects of a daemon.

#[path = "daemons/clients.rs"]
mod clients;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[path = "daemons/kinds.rs"]
mod kinds;
#[path = "daemons/table.rs"]
mod table;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/workers.rs"]
mod workers;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clients::{Clients, Outcome};
use harness::{Place, Server, daemon, skip};
use nix::sys::signal::Signal;
use workers::{pid_in, signal};

/// How many requests are under way when a daemon is replaced.
const REQUESTS: usize = 20;

/// How long each of them takes, in seconds. When a machine is so slow that something else takes longer, the next is tried.
const SLOW_S: [u32; 4] = [3, 6, 12, 24];

/// A daemon, and how it is told what.
struct Daemon {
    name: &'static str,
    /// The program that has to be there, and the Debian package with it.
    program: &'static str,
    package: &'static str,
    /// What stands after `--` in the table, and what the test runs, in a directory with the files of `tests/daemons/`.
    command: &'static str,
    script: &'static str,
    finish_signal: Signal,
    /// Whether it says `READY=1`. Otherwise it has to be seen to accept.
    says_ready: bool,
    /// The signal with which it replaces its own workers or starts itself anew, if it can.
    own_reload: Option<Signal>,
}

const NGINX: Daemon = Daemon {
    name: "nginx",
    program: "nginx",
    package: "nginx-light",
    command: "env 'NGINX=3;' nginx -g 'daemon off;'",
    script: "sed \"s/PORT/$PORT/; s/RATE/$((4096 / (SLOW_S + 1)))/\" nginx.conf >nginx.$$.conf; \
             NGINX='3;' exec nginx -p \"$PWD/\" -c nginx.$$.conf",
    finish_signal: Signal::SIGQUIT,
    says_ready: false,
    own_reload: Some(Signal::SIGHUP),
};

const HAPROXY: Daemon = Daemon {
    name: "HAProxy",
    program: "haproxy",
    package: "haproxy",
    command: "haproxy -Ws -f FILE",
    script: "exec haproxy -Ws -q -f haproxy.cfg",
    finish_signal: Signal::SIGUSR1,
    says_ready: true,
    own_reload: Some(Signal::SIGUSR2),
};

const GUNICORN: Daemon = Daemon {
    name: "gunicorn",
    program: "gunicorn",
    package: "gunicorn",
    command: "gunicorn --threads N MODULE:APP",
    script: "exec gunicorn --threads 30 --keep-alive 600 --graceful-timeout 60 application:wsgi",
    finish_signal: Signal::SIGTERM,
    says_ready: true,
    own_reload: Some(Signal::SIGHUP),
};

const UVICORN: Daemon = Daemon {
    name: "uvicorn",
    program: "uvicorn",
    package: "uvicorn",
    command: "uvicorn --fd 3 MODULE:APP",
    script: "exec uvicorn --fd 3 --timeout-keep-alive 600 application:asgi",
    finish_signal: Signal::SIGTERM,
    says_ready: false,
    own_reload: None,
};

const NODE: Daemon = Daemon {
    name: "Node.js",
    program: "node",
    package: "nodejs",
    command: "node server.js",
    script: "exec node server.js",
    finish_signal: Signal::SIGTERM,
    says_ready: false,
    own_reload: None,
};

const LIGHTTPD: Daemon = Daemon {
    name: "lighttpd",
    program: "lighttpd",
    package: "lighttpd",
    command: "lighttpd -D -f FILE",
    script: "exec lighttpd -D -f lighttpd.conf",
    finish_signal: Signal::SIGINT,
    says_ready: false,
    own_reload: Some(Signal::SIGUSR1),
};

/// What became of requests that were under way, and of an idle connection.
struct Seen {
    answered: usize,
    idle: &'static str,
}

/// Stops it, and waits for nobody: lighttpd may not finish any more once it has started itself anew.
fn end(supervisor: &Server) {
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| line.contains("SIGTERM: stopping"));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

impl Daemon {
    /// Whether it is there; says so if it is not.
    fn is_there(&self) -> bool {
        let is_there = Command::new("sh").args(["-c", &format!("command -v {}", self.program)]).output();
        let is_there = is_there.is_ok_and(|output| output.status.success());
        if !is_there {
            skip(&format!("there is no {} (Debian: apt install {})", self.program, self.package));
        }
        is_there
    }

    /// A supervisor whose first worker is ready, in `place`; and that worker.
    fn supervise(&self, place: &Place, slow_s: u32) -> (Server, u32) {
        install(place);
        let mut command = daemon();
        command.args(["supervise", "-p", "0", "--hand-over", "listen"]);
        command.args(["--ready", if self.says_ready { "notify" } else { "tcp" }]);
        command.args(["--finish-signal", self.finish_signal.as_str(), "--", "sh", "-c"]);
        command.arg(format!("export PORT=${{LISTEN_FDNAMES#tcp-}}; {}", self.script));
        command.current_dir(place.directory()).env("SLOW_S", slow_s.to_string());
        let supervisor = Server::spawn(Path::new(""), &mut command);
        let ready = supervisor.wait_for_line(|line| line.contains("of generation 1 is ready"));
        (supervisor, pid_in(&ready))
    }

    /// A new generation takes the place of the one before.
    fn replaced(&self, slow_s: u32) -> Result<Seen, String> {
        let place = Place::new();
        let (supervisor, worker) = self.supervise(&place, slow_s);
        let clients = Clients::under_way(supervisor.address(), REQUESTS).inspect_err(|_| end(&supervisor))?;
        supervisor.signal(Signal::SIGHUP);
        supervisor.wait_for_line(|line| line.contains("Generation 2 serves"));
        let told = Instant::now();
        let outcome = clients.outcome();
        let exited = format!("Worker pid {worker} of generation 1 exited with code 0");
        supervisor.wait_for_line(|line| line.contains(&exited));
        supervisor.stop();
        if outcome.answers.iter().flatten().any(|answered| *answered < told) {
            return Err(format!("requests of {slow_s} s were over before the new generation served"));
        }
        Seen::of(&outcome)
    }

    /// It is told to replace itself, without the supervisor.
    fn reloaded(&self, slow_s: u32, own_reload: Signal) -> Result<Seen, String> {
        let place = Place::new();
        let (supervisor, worker) = self.supervise(&place, slow_s);
        let clients = Clients::under_way(supervisor.address(), REQUESTS).inspect_err(|_| end(&supervisor))?;
        signal(worker, own_reload);
        let outcome = clients.outcome();
        end(&supervisor);
        Seen::of(&outcome)
    }

    fn row(&self, slow_s: u32) -> Result<String, String> {
        let Self { name, command, .. } = self;
        let finish_signal = self.finish_signal.as_str().trim_start_matches("SIG");
        let ready = if self.says_ready { "says `READY=1`" } else { "is seen to accept" };
        let Seen { answered, idle } = self.replaced(slow_s)?;
        let own = match self.own_reload {
            None => "none".to_owned(),
            Some(own_reload) => {
                let Seen { answered, idle } = self.reloaded(slow_s, own_reload)?;
                format!("{own_reload}: {answered} of {REQUESTS}, {idle}")
            }
        };
        Ok(format!("| {name} | `{command}` | {finish_signal} | {ready} | {answered} of {REQUESTS} | {idle} | {own} |"))
    }

    /// What is seen is what the page says, or the page is made to say so.
    fn is_as_the_page_says(&self) {
        if !self.is_there() {
            return;
        }
        if table::is_to_be_written() {
            return table::write(self.name, &self.row(SLOW_S[2]).expect("the machine is fast enough to write"));
        }
        let written = Ok(table::row(self.name));
        let mut seen = Err(String::new());
        for slow_s in SLOW_S {
            seen = self.row(slow_s);
            if seen == written {
                return;
            }
        }
        assert_eq!(seen, written, "{} writes the page", table::WRITE_VARIABLE);
    }
}

impl Seen {
    fn of(outcome: &Outcome) -> Result<Self, String> {
        let answered: Vec<Instant> = outcome.answers.iter().flatten().copied().collect();
        let (Some(first), Some(last)) = (answered.iter().min(), answered.iter().max()) else {
            return Err(format!("no request is answered: {:?}", outcome.answers));
        };
        let idle = match outcome.ended {
            ended if ended < *first => "ends at once",
            ended if ended < *last => "ends before the last answer",
            _ => "ends with the last answer",
        };
        Ok(Self { answered: answered.len(), idle })
    }
}

/// The files of all daemons.
fn install(place: &Place) {
    for (name, content) in [
        ("nginx.conf", include_str!("daemons/nginx.conf")),
        ("haproxy.cfg", include_str!("daemons/haproxy.cfg")),
        ("lighttpd.conf", include_str!("daemons/lighttpd.conf")),
        ("application.py", include_str!("daemons/application.py")),
        ("server.js", include_str!("daemons/server.js")),
        // What nginx sends slowly, and what lighttpd runs.
        ("slow.txt", &format!("{:4092}\nok\n", "")),
        ("slow", "sleep $SLOW_S; printf 'Content-Type: text/plain\\r\\n\\r\\nok\\n'\n"),
        ("quick", "printf 'Content-Type: text/plain\\r\\n\\r\\nok\\n'\n"),
    ] {
        std::fs::write(place.file(name), content).expect("there is room");
    }
    // nginx's workers run as somebody else, where it was started by root.
    std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o755)).expect("it is ours");
}

#[test]
fn nginx_is_replaced_with_requests_under_way_as_the_page_says() {
    NGINX.is_as_the_page_says();
}

#[test]
fn haproxy_is_replaced_with_requests_under_way_as_the_page_says() {
    HAPROXY.is_as_the_page_says();
}

#[test]
fn gunicorn_is_replaced_with_requests_under_way_as_the_page_says() {
    GUNICORN.is_as_the_page_says();
}

#[test]
fn uvicorn_is_replaced_with_requests_under_way_as_the_page_says() {
    UVICORN.is_as_the_page_says();
}

#[test]
fn node_is_replaced_with_requests_under_way_as_the_page_says() {
    NODE.is_as_the_page_says();
}

#[test]
fn lighttpd_is_replaced_with_requests_under_way_as_the_page_says() {
    LIGHTTPD.is_as_the_page_says();
}
