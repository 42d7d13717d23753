//! Who is compared, and how each is started: with one thread, in front of one address.

use std::io::Result;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::rig::Server;
use super::rig::proxies::{HAPROXY, NGINX_STREAM, Route, haproxy, nginx};

/// A proxy.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    command: fn(&Way) -> Result<Command>,
}

/// From where to where a proxy leads, and what it may write to.
pub(crate) struct Way {
    at: SocketAddr,
    to: SocketAddr,
    directory: PathBuf,
}

/// A proxy of this project that is replaced, with a takeover path.
pub(crate) struct Replaced {
    pub(crate) name: &'static str,
    program: PathBuf,
}

/// A proxy that runs, and the directory of its configuration.
pub(crate) struct Proxy {
    pub(crate) server: Server,
    _directory: TempDir,
}

impl Way {
    fn route(&self) -> Route<'_> {
        Route { at: self.at, to: self.to, directory: &self.directory }
    }
}

impl Contestant {
    fn new(name: &'static str, command: fn(&Way) -> Result<Command>) -> Self {
        Self { name, command }
    }

    /// Starts it in front of `to`, on the first processor.
    pub(crate) fn start(&self, to: SocketAddr) -> Result<Proxy> {
        let directory = tempfile::tempdir()?;
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = (self.command)(&Way { at, to, directory: directory.path().to_owned() })?;
        let server = Server::start_and_ask(&mut command, at)?;
        server.pin()?;
        Ok(Proxy { server, _directory: directory })
    }
}

/// All that are there.
pub(crate) fn all() -> Vec<Contestant> {
    let mut all = Vec::new();
    if released("reactord-proxy").exists() {
        all.push(Contestant::new("reactord-proxy", |way| {
            let mut command = Command::new(released("reactord-proxy"));
            command.args([way.at.to_string(), way.to.to_string()]).arg("-t").arg(way.directory.join("takeover"));
            Ok(command)
        }));
    } else {
        println!("reactord-proxy is left out, it is not built: cargo build --release --workspace");
    }
    if released("examples/forward").exists() {
        all.push(Contestant::new("forward", |way| {
            let mut command = Command::new(released("examples/forward"));
            command.args([way.at.to_string(), way.to.to_string()]).arg(way.directory.join("takeover"));
            Ok(command)
        }));
    } else {
        println!("The example forward is left out, it is not built: cargo build --release --examples");
    }
    if Path::new(HAPROXY).exists() {
        all.push(Contestant::new("haproxy", |way| haproxy(way.route(), "", "")));
        all.push(Contestant::new("haproxy, splice", |way| {
            haproxy(way.route(), "option splice-request\n option splice-response", "")
        }));
    } else {
        println!("haproxy is left out, it is not installed, and nothing has a ratio: apt install haproxy");
    }
    if Path::new(NGINX_STREAM).exists() {
        all.push(Contestant::new("nginx", |way| nginx(way.route(), "", "")));
    } else {
        println!("nginx is left out, it is not installed: apt install nginx-light libnginx-mod-stream");
    }
    all.push(Contestant::new("copying loop", |way| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--copy").arg(format!("{} {}", way.at, way.to));
        Ok(command)
    }));
    all
}

impl Replaced {
    /// The program and the example, as far as they are built and this is in their names.
    pub(crate) fn all(only: &str) -> Vec<Self> {
        let programs = [("reactord-proxy", "reactord-proxy"), ("forward", "examples/forward")];
        let named = programs.into_iter().filter(|(name, _)| name.contains(only));
        let all = named.map(|(name, program)| Self { name, program: released(program) });
        all.filter(|one| one.program.exists()).collect()
    }

    /// Starts it in front of `to`, on the first processor.
    pub(crate) fn start(&self, to: SocketAddr, takeover_path: &Path) -> Result<Server> {
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(&self.program);
        command.args([at.to_string(), to.to_string()]);
        if self.is_example() {
            command.arg(takeover_path);
        } else {
            command.arg("-t").arg(takeover_path);
        }
        let server = Server::start_and_ask(&mut command, at)?;
        server.pin()?;
        Ok(server)
    }

    /// A successor of the one that listens there.
    pub(crate) fn successor(&self, at: SocketAddr, to: SocketAddr, takeover_path: &Path) -> Command {
        let mut command = Command::new(&self.program);
        if self.is_example() {
            command.arg(to.to_string()).arg(takeover_path);
        } else {
            command.arg("-T").arg(takeover_path).args([at.to_string(), to.to_string()]);
        }
        command
    }

    fn is_example(&self) -> bool {
        self.name == "forward"
    }
}

/// A program of this project, as it is released.
fn released(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name(name)
}
