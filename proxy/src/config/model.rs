//! A configuration as plain values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reactord::Target;
use reactord::tls::Versions;

use crate::config::sni::Sni;
use crate::networks::Networks;

/// What a file says, with what it does not say filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The Unix socket on which a successor calls, and on which the proxy is asked things. `None` where the command line says it.
    pub takeover: Option<PathBuf>,
    /// Where figures are given over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Whether and how each connection is logged when it has ended.
    pub access_log: AccessLog,
    /// What becomes of connections whose listener or server is gone from the file.
    pub on_removed: OnRemoved,
    /// The [same](Listener::half_close_timeout) for connections whose listener is gone from the file.
    pub half_close_timeout: Option<Duration>,
    /// By name.
    pub listeners: Vec<Listener>,
    /// By name. Each route of a listener names one of these.
    pub upstreams: Vec<Upstream>,
}

impl Config {
    /// The upstream of this name.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// What servers are known by that are to be resolved; some by the same.
    pub fn names(&self) -> impl Iterator<Item = &HostPort> {
        let servers = self.upstreams.iter().flat_map(|upstream| &upstream.servers);
        servers.filter_map(|server| match &server.at {
            At::Named(name) => Some(name),
            At::Known(_) => None,
        })
    }
}

/// Whether and how each connection is logged when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// It is not.
    #[default]
    Off,
    /// As a line of words.
    Text,
    /// As a line that is an object of JSON.
    Json,
}

/// What becomes of connections whose listener or server is gone from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnRemoved {
    /// They go on until either side ends them.
    #[default]
    Keep,
    /// They end at once.
    Close,
    /// They end after so long, unless they have ended before.
    CloseAfter(Duration),
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// As the file calls it.
    pub name: String,
    /// Where it listens, at one place at least.
    pub bind: Vec<Target>,
    /// Who may connect. `None` is everybody.
    pub allow: Option<Networks>,
    /// Who may not, whatever `allow` says.
    pub deny: Networks,
    /// Who begins with a header of the PROXY protocol, and may. It is not looked for in what others send.
    pub accept_proxy: Networks,
    /// With what its clients speak TLS. `None`: what they say is passed on as it is.
    pub tls: Option<ListenerTls>,
    /// How many connections of one source address are accepted.
    pub connection_rate: Option<Rate>,
    /// Where its clients are led.
    pub route: Route,
    /// How many connections it has at most. `None` is what the open files allow.
    pub max_connections: Option<u32>,
    /// How long a client may take for a PROXY header and the name that it wants, together.
    pub header_timeout: Duration,
    /// After how long a connection ends on which neither side says anything. `None` is never.
    pub idle_timeout: Option<Duration>,
    /// After how long a connection ends of which one direction has ended, and on the other nothing is said. `None` is never.
    pub half_close_timeout: Option<Duration>,
    /// For how long what was sent may stay unacknowledged, on either side (`TCP_USER_TIMEOUT`). `None` is the kernel's default.
    pub user_timeout: Option<Duration>,
    /// After how long a silence the kernel asks whether the other end is there, on either side (`TCP_KEEPIDLE`). `None` is
    /// never.
    pub keepalive: Option<Duration>,
}

/// With what the clients of a listener speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Who signs the certificates of clients. `None`: they are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a client may also have none.
    pub client_auth: ClientAuth,
    /// What may be spoken inside, most wanted first. Empty: that is not negotiated.
    pub alpn: Vec<String>,
    /// The versions that are spoken.
    pub versions: Versions,
}

/// Where a certificate is, with its chain, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate itself first, then those that lead to a root.
    pub chain: PathBuf,
    /// May be the same file.
    pub key: PathBuf,
}

/// Whether a client has to show a certificate that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// It has to.
    #[default]
    Required,
    /// It may also have none.
    Optional,
}

/// With what servers speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Who signs their certificates. `None`: whom the system believes.
    pub ca: Option<PathBuf>,
    /// What they are called in those. `None`: as the file says where each is.
    pub name: Option<String>,
    /// Whether that is verified.
    pub verify: bool,
    /// What is shown to those who ask.
    pub certificate: Option<CertificateFiles>,
    /// What may be spoken inside, most wanted first. Empty: that is not negotiated.
    pub alpn: Vec<String>,
    /// The versions that are spoken.
    pub versions: Versions,
}

impl UpstreamTls {
    /// What a server has to be called in its certificate.
    #[must_use]
    pub fn name_of(&self, server: &Server) -> String {
        match (&self.name, &server.at) {
            (Some(name), _) => name.clone(),
            (None, At::Named(named)) => named.host.clone(),
            (None, At::Known(Target::Tcp(address))) => address.ip().to_string(),
            // A file that names none is wrong.
            (None, At::Known(_)) => String::new(),
        }
    }
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So often, at least once,
    pub count: u32,
    /// in so long: a second, a minute or an hour.
    pub per: Duration,
}

/// Where the clients of a listener are led.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// All to the upstream of this name.
    Upstream(String),
    /// To the upstream of the name that they ask for in their TLS ClientHello.
    Sni(Sni),
}

/// Servers that are as good as one another.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// As the file calls it.
    pub name: String,
    /// At least one of which is no backup.
    pub servers: Vec<Server>,
    /// Which of them gets the next client.
    pub balance: Balance,
    /// How it is found out whether a server is up. `None` is not at all: it is.
    pub check: Option<Check>,
    /// When a server gets no clients for a while since connections to it fail. `None` is never.
    pub eject: Option<Eject>,
    /// Whether clients wait where all servers have as many as they may. `None` is that they are closed at once.
    pub queue: Option<Queue>,
    /// What becomes of the connections to a server that has failed its checks.
    pub on_down: OnDown,
    /// With what header of the PROXY protocol a server is told whose connection it is.
    pub send_proxy: Option<ProxyVersion>,
    /// With what its servers speak TLS. `None`: they are sent what clients say.
    pub tls: Option<UpstreamTls>,
    /// How long a connection to a server may take to be opened.
    pub connect_timeout: Duration,
    /// How often a client whose server cannot be reached is led to another one, if there is one, or to the same.
    pub retries: u32,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Under which it is known to the log, to figures and to a successor. Unique in its upstream.
    pub name: String,
    /// Where it is.
    pub at: At,
    /// It gets clients only if no server is up that is no backup.
    pub backup: bool,
    /// How many connections it gets at most. `None` is any number.
    pub max_connections: Option<u32>,
    /// Its share of the clients, beside the weights of the others: 0 to 256. With 0 it gets none.
    pub weight: u32,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// At an address or a path.
    Known(Target),
    /// At the addresses that a name has.
    Named(HostPort),
}

/// A port of a host that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Its name, which is a valid one, in lower case.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// How often it is asked what addresses the name has. `None` is once, at the start.
    pub resolve: Option<Duration>,
}

/// Which server gets the next client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that has the fewest.
    LeastConnections,
    /// Of two that are chosen at random, the one that has fewer.
    RandomTwo,
    /// The one that the client's address leads to, always the same while it is up.
    SourceHash,
}

/// How it is found out whether a server is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// How often. Not shorter than `within`.
    pub every: Duration,
    /// How long one may take in all.
    pub within: Duration,
    /// After how many successes in a row a server that is down is up, at least 1.
    pub rise: u32,
    /// After how many failures in a row a server that is up is down, at least 1.
    pub fall: u32,
    /// What is said to the server when it is connected.
    pub send: Option<String>,
    /// What the server's answer has to begin with. `None` is that it only has to be reached.
    pub expect: Option<String>,
}

/// When a server gets no clients for a while since connections to it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// After so many failures in a row, at least 1,
    pub failures: u32,
    /// for so long.
    pub period: Duration,
}

/// How clients wait where all servers have as many as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many wait at most; who comes then is closed at once.
    pub max: u32,
    /// How long one waits before it is closed.
    pub within: Duration,
}

/// What becomes of the connections to a server that has failed its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDown {
    /// They go on until either side ends them.
    #[default]
    Keep,
    /// They end at once.
    Close,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
    /// The same, with what is known of the client's TLS.
    V2Ssl,
}
