//! The proxy's figures, by listener and by server, in the text format of Prometheus.

use std::fmt::{Display, Write};

use super::doings::Doings;
use super::roll::Rolled;
use super::state::Proxy;
use crate::standing::Standing;

/// Writes one family.
struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl<'t> Family<'t> {
    fn begin(text: &'t mut String, name: &'static str, kind: &str, help: &str) -> Self {
        line(text, format_args!("# HELP {name} {help}"));
        line(text, format_args!("# TYPE {name} {kind}"));
        Self { text, name }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        line(self.text, format_args!("{}{{{}}} {value}", self.name, labels.join(",")));
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A figure of a listener or of a server: name, kind, help, and the figure.
type Of<F> = (&'static str, &'static str, &'static str, F);

type OfListener = fn(&Listened<'_>) -> u64;

type OfServer = fn(&Serving<'_>) -> u64;

/// A listener as it is told.
struct Listened<'p> {
    name: &'p str,
    connections: u64,
    doings: Doings,
}

const OF_LISTENERS: [Of<OfListener>; 4] = [
    ("proxy_listener_connections", "gauge", "Clients now.", |listener| listener.connections),
    ("proxy_listener_accepted_total", "counter", "Clients that have connected.", |listener| listener.doings.accepted),
    (
        "proxy_listener_received_bytes_total",
        "counter",
        "Bytes from clients, of connections that have ended.",
        |listener| listener.doings.received_bytes,
    ),
    (
        "proxy_listener_sent_bytes_total",
        "counter",
        "Bytes that clients have acknowledged, of connections that have ended.",
        |listener| listener.doings.sent_bytes,
    ),
];

/// A server as it is told.
struct Serving<'p> {
    upstream: &'p str,
    name: &'p str,
    connections: u64,
    is_up: bool,
    standing: Standing,
}

const OF_SERVERS: [Of<OfServer>; 10] = [
    ("proxy_server_connections", "gauge", "Connections for clients now.", |server| server.connections),
    ("proxy_server_up", "gauge", "Whether it gets clients.", |server| u64::from(server.is_up)),
    ("proxy_server_drained", "gauge", "Whether an operator has drained or closed it.", |server| {
        u64::from(server.standing.is_drained)
    }),
    ("proxy_server_connections_total", "counter", "Connections that were opened to it for clients.", |server| {
        server.standing.figures.connections
    }),
    ("proxy_server_failures_total", "counter", "Connections to it that could not be opened.", |server| {
        server.standing.figures.failures
    }),
    ("proxy_server_failed_checks_total", "counter", "Checks that it has failed.", |server| {
        server.standing.figures.failed_checks
    }),
    ("proxy_server_downs_total", "counter", "How often it was found down.", |server| server.standing.figures.downs),
    ("proxy_server_ejections_total", "counter", "How often it was ejected.", |server| {
        server.standing.figures.ejections
    }),
    (
        "proxy_server_received_bytes_total",
        "counter",
        "Bytes that clients have got from it, of connections that have ended.",
        |server| server.standing.figures.received_bytes,
    ),
    (
        "proxy_server_sent_bytes_total",
        "counter",
        "Bytes that clients have sent to it, of connections that have ended.",
        |server| server.standing.figures.sent_bytes,
    ),
];

impl Proxy {
    /// Appends all figures.
    pub(super) fn write_figures(&self, text: &mut String) {
        let listeners = self.listened();
        for (name, kind, help, figure) in OF_LISTENERS {
            let mut family = Family::begin(text, name, kind, help);
            listeners.iter().for_each(|listener| family.sample(&[("listener", listener.name)], figure(listener)));
        }
        let help = "Connections that have ended, by how, in the words of the access log.";
        let mut family = Family::begin(text, "proxy_listener_ended_total", "counter", help);
        for listener in &listeners {
            for (end, count) in &listener.doings.ends {
                family.sample(&[("listener", listener.name), ("end", end)], count);
            }
        }
        let servers = self.serving();
        for (name, kind, help, figure) in OF_SERVERS {
            let mut family = Family::begin(text, name, kind, help);
            for server in &servers {
                family.sample(&[("upstream", server.upstream), ("server", server.name)], figure(server));
            }
        }
        let mut family = Family::begin(text, "proxy_upstream_waiting", "gauge", "Clients that wait for a server.");
        for (upstream, pool) in self.config.upstreams.iter().zip(&self.pools) {
            family.sample(&[("upstream", &upstream.name)], pool.waiting);
        }
        let help = "Clients that have had to wait for a server.";
        let mut family = Family::begin(text, "proxy_upstream_queued_total", "counter", help);
        for upstream in &self.config.upstreams {
            let count = self.queued.get(&upstream.name).copied().unwrap_or_default();
            family.sample(&[("upstream", &upstream.name)], count);
        }
    }

    fn listened(&self) -> Vec<Listened<'_>> {
        let listeners = self.config.listeners.iter().zip(&self.entered);
        let told = listeners.map(|(listener, entered)| Listened {
            name: &listener.name,
            connections: entered.connections.into(),
            doings: self.doings.get(&listener.name).cloned().unwrap_or_default(),
        });
        told.collect()
    }

    fn serving(&self) -> Vec<Serving<'_>> {
        let servers = (0..self.servers_of_file()).map(Rolled::at);
        let told = servers.filter_map(|number| {
            let (_, upstream, server) = self.server(number)?;
            let (live, standing) = (&self.live[number.index()], self.standing(number));
            Some(Serving {
                upstream: &upstream.name,
                name: &server.name,
                connections: live.connections.into(),
                is_up: !live.at.is_empty() && standing.why_not(self.ms(std::time::Instant::now())).is_none(),
                standing,
            })
        });
        told.collect()
    }
}
