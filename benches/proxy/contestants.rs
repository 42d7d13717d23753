//! Who is compared, and how each is started: with one thread, in front of one address.

use std::io::{Result, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::rig::Server;

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
    if Path::new("/usr/sbin/haproxy").exists() {
        all.push(Contestant::new("haproxy", |way| haproxy(way, "")));
        all.push(Contestant::new("haproxy, splice", |way| {
            haproxy(way, "option splice-request\n option splice-response")
        }));
    } else {
        println!("haproxy is left out, it is not installed, and nothing has a ratio: apt install haproxy");
    }
    if Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists() {
        all.push(Contestant::new("nginx", nginx));
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

fn haproxy(way: &Way, options: &str) -> Result<Command> {
    let path = way.directory.join("haproxy.cfg");
    let mut file = std::fs::File::create(&path)?;
    writeln!(
        file,
        "global\n nbthread 1\n maxconn 9500\n maxpipes 50\ndefaults\n mode tcp\n {options}\n timeout connect 5s\n timeout client 1h\n \
         timeout server 1h\nlisten proxy\n bind {}\n server one {}",
        way.at, way.to
    )?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

fn nginx(way: &Way) -> Result<Command> {
    let path = way.directory.join("nginx.conf");
    let mut file = std::fs::File::create(&path)?;
    writeln!(
        file,
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\nerror_log stderr;\n\
         pid {0}/pid;\nworker_rlimit_nofile 20000;\nevents {{ worker_connections 19000; }}\n\
         stream {{ server {{ listen {1} backlog=4096; proxy_pass {2}; proxy_timeout 1h; }} }}",
        way.directory.display(),
        way.at,
        way.to
    )?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(path);
    Ok(command)
}
