//! Whether servers are up: checks when they are due, and what follows from them.

use std::time::{Duration, Instant};

use log::{debug, info, warn};
use reactord::{Closed, Connect, Context, Violation};

use super::leading::{is_shortage, spoken_to};
use super::roll::Rolled;
use super::session::{Leaving, Probe, Session};
use super::state::{Live, Proxy};
use super::timers::{CHECKS, LINES_LEFT_OUT};
use crate::config::{Check, OnDown};
use crate::lines::About;
use crate::proxy_header::{Says, write};
use crate::standing::Turned;

/// Within which the first checks of a server that has just begun come: not all at once, and soon.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

impl Proxy {
    /// Spreads the next checks over so long as two of a server are apart, or less: so there is no storm of them, and however
    /// often processes follow one another, as many come as are asked for.
    pub(super) fn spread_checks(&mut self, within: Option<Duration>, context: &mut Context<'_, Self>) {
        for number in 0..self.servers_of_file() {
            let every = self.check_of(Rolled::at(number)).map(|check| check.every);
            let after = every.map(|every| within.unwrap_or(every).min(every).mul_f64(fastrand::f64()));
            self.live[number].check_at = after.map(|after| context.now() + after);
        }
        self.set_check_timer(context);
    }

    /// The same for a server that begins.
    pub(super) fn begin_checks(&mut self, context: &mut Context<'_, Self>) {
        self.spread_checks(Some(FIRST_WITHIN), context);
    }

    fn check_of(&self, server: Rolled) -> Option<&Check> {
        self.server(server).and_then(|(_, upstream, _)| upstream.check.as_ref())
    }

    fn set_check_timer(&self, context: &mut Context<'_, Self>) {
        let first = self.live.iter().filter_map(|live| live.check_at).min();
        context.set_timer(CHECKS, first.map(|at| at.saturating_duration_since(context.now())));
    }

    /// Begins the checks that are due.
    pub(super) fn check_those_due(&mut self, context: &mut Context<'_, Self>) {
        let now = context.now();
        for number in 0..self.servers_of_file() {
            if self.live[number].check_at.is_some_and(|at| at <= now) {
                self.check(Rolled::at(number), now, context);
            }
        }
        self.set_check_timer(context);
    }

    fn check(&mut self, of: Rolled, now: Instant, context: &mut Context<'_, Self>) {
        let Some(Check { every, within, send, .. }) = self.check_of(of).cloned() else { return };
        self.live[of.index()].check_at = Some(now + every);
        let Live { at, next_check, .. } = &self.live[of.index()];
        let Some(to) = at.get(next_check % at.len().max(1)).cloned() else {
            return self.judge(of, Err("its name has no address"), context);
        };
        let (_, upstream, server) = self.server(of).expect("servers of the file are checked");
        let header = upstream.send_proxy.map(|version| write(version, &Says::Own, None)).unwrap_or_default();
        let connect = Connect { within, ephemeral: true, ..Connect::to(to) };
        let (connect, first) = spoken_to(connect, upstream, server, header);
        match context.connect(&connect, Session::Check(Box::new(Probe { of, passed: None }))) {
            Ok(probe) => {
                context.set_deadline(probe, Some(within));
                let said = [first, send.unwrap_or_default().into_bytes()].concat();
                // It waits until the connection stands.
                if let Err(error) = context.send(probe, &said) {
                    debug!("A check of {}: {error}", self.servers.name(of));
                }
            }
            // This machine has no room for it, which is no server's fault.
            Err((_, error)) if is_shortage(&error) => {
                self.lines.warn(About::Shortage, now, format_args!("No connection can be opened for a check: {error}"));
            }
            Err((_, error)) => self.judge(of, Err(&error.to_string()), context),
        }
    }

    /// The connection of a check stands, which is all that it is about, unless the server is expected to say something.
    pub(super) fn reached(&self, probe: &mut Probe, context: &mut Context<'_, Self>) {
        if self.check_of(probe.of).is_none_or(|check| check.expect.is_none()) {
            probe.passed = Some(true);
            context.close();
        }
    }

    /// A server has said something in a check.
    pub(super) fn hear_server(
        &self,
        probe: &mut Probe,
        input: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let expected = self.check_of(probe.of).and_then(|check| check.expect.as_deref()).unwrap_or_default().as_bytes();
        let common = expected.len().min(input.len());
        if input[..common] != expected[..common] {
            probe.passed = Some(false);
            context.close();
        } else if common == expected.len() {
            probe.passed = Some(true);
            context.close();
        }
        Ok(0)
    }

    /// A check is over.
    pub(super) fn checked(&mut self, probe: Probe, how: &Closed, context: &mut Context<'_, Self>) {
        // That this server ends it says nothing of the other one.
        if self.is_stopping {
            return;
        }
        let reason = match (probe.passed, how) {
            (Some(true), _) => return self.judge(probe.of, Ok(()), context),
            (Some(false), _) => "it answers something else than is expected".to_owned(),
            (None, Closed::Deadline) => "it has not answered in time".to_owned(),
            (None, Closed::Ended) => "it has ended the connection without the answer that is expected".to_owned(),
            (None, how) => how.to_string(),
        };
        self.judge(probe.of, Err(&reason), context);
    }

    fn judge(&mut self, of: Rolled, result: Result<(), &str>, context: &mut Context<'_, Self>) {
        let Some(check) = self.check_of(of).cloned() else { return };
        let turned = self.change(of, |standing| standing.checked(result, &check));
        if result.is_err() {
            // A name may have an address where nobody listens: the next check asks at the next one, and stays where it is answered.
            let next_check = &mut self.live[of.index()].next_check;
            *next_check = next_check.wrapping_add(1);
        }
        let name = self.servers.name(of);
        match (turned, result) {
            (Some(Turned::Up), _) => {
                info!("Server {name} is up: {} checks in a row have succeeded", check.rise);
                self.serve_queues(context);
            }
            (Some(Turned::Down), result) => {
                let reason = result.err().unwrap_or_default();
                warn!("Server {name} is down: {} checks in a row have failed: {reason}", check.fall);
                if self.server(of).is_some_and(|(_, upstream, _)| upstream.on_down == OnDown::Close) {
                    self.cut(of, Leaving::Down, context);
                }
                // Backups may be used from here on, or nobody is up for whom it would be worth waiting.
                self.serve_queue_of(of, context);
            }
            (None, Err(reason)) => debug!("A check of {name} has failed: {reason}"),
            (None, Ok(())) => {}
        }
    }

    /// Ends all connections to a server at once, for this reason. Says how many. Clients of those that are still being opened are
    /// led elsewhere.
    pub(super) fn cut(&mut self, server: Rolled, why: Leaving, context: &mut Context<'_, Self>) -> usize {
        let (mut clients, mut connections) = (Vec::new(), Vec::new());
        for id in context.peers() {
            match context.look(id) {
                Some(Session::Server(served)) if served.to == server => connections.push((id, *served)),
                Some(session) if session.client().is_some_and(|(client, _)| client.to == server) => clients.push(id),
                _ => {}
            }
        }
        for client in &clients {
            if let Some(client) = context.session(*client).and_then(Session::client_mut) {
                client.leaving = why;
            }
            context.abort(*client);
        }
        connections.into_iter().for_each(|(id, served)| self.turn_away(id, served, context));
        clients.len()
    }

    /// Says what there is to say of lines that were left out, and is called again when there is more.
    pub(super) fn say_left_out(&mut self, context: &mut Context<'_, Self>) {
        self.lines.say_left_out(context.now());
        self.remember_left_out(context);
    }

    pub(super) fn remember_left_out(&self, context: &mut Context<'_, Self>) {
        let due = self.lines.due().map(|due| due.saturating_duration_since(context.now()));
        context.set_timer(LINES_LEFT_OUT, due);
    }
}
