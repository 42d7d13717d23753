//! Who is compared, and how each is started: with one thread, on the first processor.

use std::io::{Result, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::rig::Server;
use super::rig::proxies::{self, HAPROXY, NGINX_STREAM, Route};

/// A server that sends back what comes, by itself or by whom it leads to.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A service of this program: over TLS, and in clear.
    Own { tls: &'static str, plain: &'static str },
    /// It stands in front of a loop that sends back what comes.
    Proxy(fn(&Way<'_>) -> Result<Command>),
}

/// Where a proxy leads, and with which certificate it speaks TLS, if it does.
struct Way<'a> {
    route: Route<'a>,
    certificate: Option<&'a Certificate>,
}

/// One that runs, and what it needs.
pub(crate) struct Running {
    pub(crate) server: Server,
    _behind: Option<Server>,
    _directory: TempDir,
}

/// The server of this project, and its proxy, with which the others are compared.
pub(crate) const SERVER: &str = "reactord";
pub(crate) const PROXY: &str = "proxy";

/// All that are there.
pub(crate) fn all() -> Vec<Contestant> {
    let own = |name, tls| Contestant { name, kind: Kind::Own { tls, plain: "plain" } };
    let mut all = vec![own(SERVER, "tls"), own("rustls", "rustls")];
    if released_proxy().exists() {
        all.push(Contestant { name: PROXY, kind: Kind::Proxy(reactord_proxy) });
    } else {
        println!("reactord-proxy is left out, it is not built: cargo build --release --workspace");
    }
    if Path::new(HAPROXY).exists() {
        all.push(Contestant { name: "haproxy", kind: Kind::Proxy(haproxy) });
    } else {
        println!("haproxy is left out, it is not installed: apt install haproxy");
    }
    if Path::new(NGINX_STREAM).exists() {
        all.push(Contestant { name: "nginx", kind: Kind::Proxy(nginx) });
    } else {
        println!("nginx is left out, it is not installed: apt install nginx-light libnginx-mod-stream");
    }
    all
}

impl Contestant {
    /// Starts it. Without a certificate its clients speak in clear.
    pub(crate) fn start(&self, certificate: Option<&Certificate>) -> Result<Running> {
        let directory = tempfile::tempdir()?;
        let (server, behind) = match self.kind {
            Kind::Own { tls, plain } => {
                (start_own(if certificate.is_some() { tls } else { plain }, certificate)?, None)
            }
            Kind::Proxy(command) => {
                let behind = start_own("bare", None)?;
                let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
                let route = Route { at, to: behind.address(), directory: directory.path() };
                (Server::start_and_ask(&mut command(&Way { route, certificate })?, at)?, Some(behind))
            }
        };
        server.pin()?;
        Ok(Running { server, _behind: behind, _directory: directory })
    }
}

/// A server of this program.
pub(crate) fn start_own(role: &str, certificate: Option<&Certificate>) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--serve", role]);
    if let Some(certificate) = certificate {
        command.arg("--certificate").arg(certificate.directory());
    }
    Server::start(&mut command)
}

fn released_proxy() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("reactord-proxy")
}

fn reactord_proxy(way: &Way<'_>) -> Result<Command> {
    let Route { at, to, directory } = way.route;
    let path = directory.join("proxy.toml");
    let tls = way
        .certificate
        .map_or(String::new(), |certificate| format!("tls = {{ certificates = [\"{}\"] }}\n", certificate.both()));
    let mut file = std::fs::File::create(&path)?;
    writeln!(
        file,
        "[listener.clients]\nbind = \"{at}\"\nupstream = \"one\"\n{tls}[upstream.one]\nservers = [\"{to}\"]"
    )?;
    let mut command = Command::new(released_proxy());
    command.arg("-t").arg(directory.join("takeover")).arg("-c").arg(path);
    Ok(command)
}

fn haproxy(way: &Way<'_>) -> Result<Command> {
    let ssl = way.certificate.map_or(String::new(), |certificate| format!(" ssl crt {}", certificate.both()));
    proxies::haproxy(way.route, "", &ssl)
}

fn nginx(way: &Way<'_>) -> Result<Command> {
    let Some(certificate) = way.certificate else { return proxies::nginx(way.route, "", "") };
    // Of itself, that of Debian 12 offers no later version than 1.2.
    let (chain, key) = (certificate.chain(), certificate.key());
    let ssl = format!(" ssl_protocols TLSv1.3; ssl_certificate {chain}; ssl_certificate_key {key};");
    proxies::nginx(way.route, " ssl", &ssl)
}
