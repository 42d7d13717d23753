//! What a configuration means for the server that carries it out: where it listens, under what names, and for how many peers.

use reactord::{Listen, Target};

use crate::config::{Config, Credentials, Listener, Server, Upstream};
use crate::preface::HeaderFirst;

/// A server's name among all.
#[must_use]
pub fn key(upstream: &Upstream, server: &Server) -> String {
    format!("{}/{}", upstream.name, server.name)
}

/// The name of one of the places where a listener listens.
#[must_use]
pub fn door(listener: &Listener, at: &Target) -> String {
    match listener.bind.len() {
        1 => listener.name.clone(),
        _ => format!("{} {at}", listener.name),
    }
}

/// Where the proxy listens, and with what it speaks TLS there, if it does.
#[must_use]
pub fn listens(config: &Config, credentials: &Credentials) -> Vec<Listen> {
    let of_one = |listener: &Listener| {
        let tls = credentials.listeners.get(&listener.name).cloned();
        // Also if no network is named: a predecessor may have come to know of one that begins so.
        let tls = tls.map(|tls| tls.after(HeaderFirst(listener.accept_proxy.clone())));
        let listen = |at| Listen { tls: tls.clone(), ..Listen::on(door(listener, at), at.clone()) };
        let places = listener.bind.iter().map(listen);
        places.collect::<Vec<Listen>>()
    };
    config.listeners.iter().flat_map(of_one).collect()
}

/// How many clients there may be with so many open files: each has a connection to a server as well.
#[must_use]
pub fn clients_max(config: &Config, files_allowed: usize) -> usize {
    usize::try_from(config.connections_within(files_allowed as u64)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_its_name_and_where_it_has_several_places_each_has_its_own() {
        let text = "[listener.a]\nbind = '127.0.0.1:1'\nupstream = 'u'\n\
                    [listener.b]\nbind = ['127.0.0.1:2', '[::1]:2']\nupstream = 'u'\n[upstream.u]\nservers = ['127.0.0.1:3']\n";
        let config = Config::read("test", text).unwrap();
        let names: Vec<String> =
            listens(&config, &Credentials::default()).into_iter().map(|listen| listen.name).collect();
        assert_eq!(names, ["a", "b [127.0.0.1]:2", "b [::1]:2"]);
        assert_eq!(clients_max(&config, 0), 1);
        assert!((400..500).contains(&clients_max(&config, 1024)));
    }
}
