//! What an operator asks of a proxy that runs, on its takeover path.

use std::fmt::Write;

use log::info;
use reactord::{Context, PeerId};

use super::roll::Rolled;
use super::session::{Client, Leaving, Origin, Session};
use super::state::Proxy;
use crate::proxy_header::protocol;
use crate::words::{ANSWER_BYTES_MAX, CONNECTIONS_PER_ANSWER, Question};

/// So many peers are looked at for one answer: about half of them are servers' connections.
const PEERS_PER_ANSWER: usize = 2 * CONNECTIONS_PER_ANSWER;

impl Proxy {
    /// Answers a question, or does what is asked.
    pub(super) fn answer(&mut self, question: &[u8], context: &mut Context<'_, Self>) -> Result<String, String> {
        match Question::parse(question)? {
            Question::Drain(server) => self.drain(self.find(&server)?, context),
            Question::Close(server) => self.close(self.find(&server)?, context),
            Question::Enable(server) => self.enable(self.find(&server)?, context),
            Question::Servers { from } => Ok(self.tell_servers(from, context)),
            Question::Connections { after } => Ok(self.tell_connections(after, context)),
        }
    }

    /// A server by the name that figures and the log call it: also one that is gone from the file.
    fn find(&self, name: &str) -> Result<Rolled, String> {
        self.servers.find(name).ok_or_else(|| {
            let mut known: Vec<String> =
                (0..self.servers.len()).map(|number| self.servers.name(Rolled::at(number)).into()).collect();
            known.truncate(20);
            format!("there is no server {name}; there are {}", known.join(", "))
        })
    }

    fn drain(&mut self, server: Rolled, context: &mut Context<'_, Self>) -> Result<String, String> {
        self.change(server, |standing| standing.is_drained = true);
        // Backups may be used from here on, or nobody is up for whom it would be worth waiting.
        self.serve_queue_of(server, context);
        let (name, connections) = (self.servers.name(server), self.live[server.index()].connections);
        info!("Server {name} is drained: it keeps {connections} connections, and gets no new ones");
        Ok(format!("{name} is drained and keeps {connections} connections\n"))
    }

    fn close(&mut self, server: Rolled, context: &mut Context<'_, Self>) -> Result<String, String> {
        self.change(server, |standing| standing.is_drained = true);
        let (name, connections) = (self.servers.name(server), self.cut(server, Leaving::Closed, context));
        self.serve_queue_of(server, context);
        info!("Server {name} is closed: {connections} connections are cut, and it gets no new ones");
        Ok(format!("{name} is closed, {connections} connections are cut\n"))
    }

    fn enable(&mut self, server: Rolled, context: &mut Context<'_, Self>) -> Result<String, String> {
        let why_not = self.change(server, |standing| {
            standing.enable();
            standing.why_not(0)
        });
        let name = self.servers.name(server);
        info!("Server {name} is enabled");
        self.serve_queues(context);
        let but = why_not.map(|why_not| format!(", and {why_not}")).unwrap_or_default();
        Ok(format!("{name} is enabled{but}\n"))
    }

    /// Some servers, from that one on, and behind the last one who waits for one. The last line, where others are left, has the number to go on
    /// from.
    fn tell_servers(&self, from: u64, context: &Context<'_, Self>) -> String {
        let (now_ms, servers) = (self.ms(context.now()), self.servers.len());
        let mut told = String::new();
        for number in usize::try_from(from).unwrap_or(usize::MAX)..servers + self.pools.len() {
            if told.len() >= ANSWER_BYTES_MAX {
                line(&mut told, format_args!("more {number}"));
                break;
            }
            match number.checked_sub(servers) {
                None => self.tell_server(Rolled::at(number), now_ms, &mut told),
                Some(pool) => self.tell_waiting(pool, &mut told),
            }
        }
        told
    }

    fn tell_server(&self, number: Rolled, now_ms: u64, told: &mut String) {
        let (live, standing) = (&self.live[number.index()], self.standing(number));
        let is_gone = self.server(number).is_none();
        if is_gone && live.connections == 0 {
            return;
        }
        let state = match standing.why_not(now_ms) {
            _ if is_gone => "gone",
            Some(why_not) => why_not,
            None if live.at.is_empty() => "unresolved",
            None => "up",
        };
        let figures = standing.figures;
        let failure = standing.last_failure.map(|why| format!(" last_failure={why:?}")).unwrap_or_default();
        line(
            told,
            format_args!(
                "{} {state} connections={} total={} failures={} failed_checks={}{failure}",
                self.servers.name(number),
                live.connections,
                figures.connections,
                figures.failures,
                figures.failed_checks
            ),
        );
    }

    fn tell_waiting(&self, pool: usize, told: &mut String) {
        let waiting = self.pools[pool].waiting;
        if waiting > 0 {
            line(told, format_args!("{} waiting={waiting}", self.config.upstreams[pool].name));
        }
    }

    /// Some clients, by their ids from that one on. The last line, where others are left, has the id to go on from.
    fn tell_connections(&self, after: u64, context: &Context<'_, Self>) -> String {
        let ids = context.peers().into_iter().map(u64::from).filter(|id| *id > after);
        let (next, mut are_left) = least(ids.collect(), PEERS_PER_ANSWER);
        let (mut told, mut clients, mut last) = (String::new(), 0, after);
        for id in next {
            if clients == CONNECTIONS_PER_ANSWER || told.len() >= ANSWER_BYTES_MAX {
                are_left = true;
                break;
            }
            last = id;
            if context.look(id.into()).is_some_and(Session::is_clients) {
                self.tell_connection(id.into(), &mut told, context);
                clients += 1;
            }
        }
        if are_left {
            line(&mut told, format_args!("more {last}"));
        }
        told
    }

    fn tell_connection(&self, id: PeerId, told: &mut String, context: &Context<'_, Self>) {
        let now_ms = self.ms(context.now());
        match context.look(id) {
            Some(Session::Coming(coming)) => line(
                told,
                format_args!(
                    "{} {} listener={} upstream={} age_ms={} waits={:?}",
                    u64::from(id),
                    coming.told.origin.whence(),
                    self.listeners.name(coming.listener),
                    coming.upstream.as_deref().unwrap_or("-"),
                    now_ms.saturating_sub(coming.accepted_ms),
                    coming.stage
                ),
            ),
            Some(session) => {
                let Some((client, known)) = session.client() else { return };
                let counted = context.counted(id);
                let source = known.and_then(|known| known.origin.source).or_else(|| context.address_of(id));
                let Client { accepted_ms, to, connect_ms, listener, retries, .. } = client;
                let tls =
                    context.tls(id).map(|facts| format!(" tls={}", protocol(facts.version()))).unwrap_or_default();
                line(
                    told,
                    format_args!(
                        "{} {} listener={} server={} age_ms={} connect_ms={connect_ms} retries={retries} received={} sent={}{tls}",
                        u64::from(id),
                        Origin { source, destination: None }.whence(),
                        self.listeners.name(*listener),
                        self.servers.name(*to),
                        now_ms.saturating_sub(*accepted_ms),
                        counted.received_bytes,
                        counted.acknowledged_bytes
                    ),
                );
            }
            None => {}
        }
    }
}

/// The least of these, so many or all of them, sorted; and whether others are left. The others are not sorted for that: there may be a million.
fn least(mut all: Vec<u64>, count: usize) -> (Vec<u64>, bool) {
    let are_left = all.len() > count;
    if are_left {
        all.select_nth_unstable(count);
        all.truncate(count);
    }
    all.sort_unstable();
    (all, are_left)
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_found_without_the_others() {
        assert_eq!(least(vec![5, 1, 4, 2, 3], 2), (vec![1, 2], true));
        assert_eq!(least(vec![5, 1, 4], 3), (vec![1, 4, 5], false));
        assert_eq!(least(Vec::new(), 3), (Vec::new(), false));
    }
}
