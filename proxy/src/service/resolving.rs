//! Servers that are known by name: where they are, as the thread that resolves names tells.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use log::{info, warn};
use reactord::{Context, Target};

use super::roll::Rolled;
use super::state::Proxy;
use crate::config::{At, HostPort};
use crate::names::{Asked, News, Resolver, Told};

impl Proxy {
    /// Starts the thread that resolves names, if any server has one. A successor has the addresses that were known last.
    pub(super) fn resolve_names(&mut self, context: &Context<'_, Self>) {
        let names = self.config.names();
        let asked: Vec<Asked> = names.map(|HostPort { host, port, resolve }| (host.clone(), *port, *resolve)).collect();
        if asked.is_empty() {
            return;
        }
        let (told, handle) = (Arc::clone(&self.names.told), context.handle());
        let resolver = Resolver::start(asked, move |news| {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(news);
            handle.wake();
        });
        match resolver {
            Ok(resolver) => self.names.resolver = Some(resolver),
            Err(error) => warn!("Names of servers are not resolved again: {error}"),
        }
    }

    /// Does what the thread has told since this was last called.
    pub(super) fn hear_resolver(&mut self, context: &mut Context<'_, Self>) {
        let all = std::mem::take(&mut *self.names.told.lock().unwrap_or_else(PoisonError::into_inner));
        for Told { host, port, news } in all {
            match news {
                News::Addresses(addresses) => self.is_at(&host, port, &addresses),
                News::Failed(why) => warn!("The name {host} of a server cannot be resolved: {why}"),
            }
        }
        self.serve_queues(context);
    }

    /// A host that servers are known by has these addresses: at least one.
    pub fn is_at(&mut self, host: &str, port: u16, addresses: &[SocketAddr]) {
        for number in (0..self.servers_of_file()).map(Rolled::at) {
            let is_it = |at: &At| matches!(at, At::Named(named) if named.host == host && named.port == port);
            if self.server(number).is_some_and(|(_, _, server)| is_it(&server.at)) {
                self.moves_to(number, addresses);
            }
        }
    }

    fn moves_to(&mut self, number: Rolled, addresses: &[SocketAddr]) {
        let at: Vec<Target> = addresses.iter().copied().map(Target::from).collect();
        let live = &mut self.live[number.index()];
        if live.at != at {
            let list = addresses.iter().map(SocketAddr::to_string).collect::<Vec<String>>().join(", ");
            info!("Server {} is at {list}", self.servers.name(number));
            (live.at, live.next) = (at, 0);
            self.change(number, |standing| standing.addresses = addresses.to_vec());
        }
    }

    /// Servers whose names are not resolved yet are where they were when that was last known; where the others are, a successor is
    /// told, also of one that the predecessor has not known.
    pub(super) fn remember_addresses(&mut self) {
        for number in (0..self.servers_of_file()).map(Rolled::at) {
            let is_named = self.server(number).is_some_and(|(_, _, server)| matches!(server.at, At::Named(_)));
            if !is_named {
                continue;
            }
            let known = self.standing(number).addresses;
            let live = &mut self.live[number.index()];
            if live.at.is_empty() {
                live.at = known.into_iter().map(Target::from).collect();
                continue;
            }
            let tcp = |at: &Target| if let Target::Tcp(address) = at { Some(*address) } else { None };
            let addresses: Vec<SocketAddr> = live.at.iter().filter_map(tcp).collect();
            if addresses != known {
                self.change(number, |standing| standing.addresses = addresses);
            }
        }
    }
}
