//! What is different between two configurations, for the line that is logged when one takes the other's place.

use std::fmt::{self, Display, Formatter};

use crate::config::model::{Config, Listener, Server, Upstream};

/// What is different between two configurations. Names are sorted; servers are `UPSTREAM/SERVER`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of listeners.
    pub listeners: Difference,
    /// Of upstreams as a whole: how they balance, check and so on, and not which servers they have.
    pub upstreams: Difference,
    /// Of servers.
    pub servers: Difference,
    /// What is said for all has changed: the metrics, the log, or what becomes of who is left over.
    pub general: bool,
}

/// What is different between two sets of things with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only the later one has them.
    pub added: Vec<String>,
    /// Only the earlier one has them.
    pub removed: Vec<String>,
    /// Both have them, elsewhere: where they listen, or can be connected to, is not the same.
    pub moved: Vec<String>,
    /// Both have them in the same place, and something else about them is not the same.
    pub changed: Vec<String>,
}

/// What is different between an earlier configuration and a later one.
#[must_use]
pub fn changes(earlier: &Config, later: &Config) -> Changes {
    let general = |config: &Config| Config { listeners: Vec::new(), upstreams: Vec::new(), ..config.clone() };
    Changes {
        listeners: difference(&listeners(earlier), &listeners(later), |listener| listener.bind.clone()),
        upstreams: difference(&upstreams(earlier), &upstreams(later), |_| ()),
        servers: difference(&servers(earlier), &servers(later), |server| server.at.clone()),
        general: general(earlier) != general(later),
    }
}

fn listeners(config: &Config) -> Vec<(String, Listener)> {
    config.listeners.iter().map(|listener| (listener.name.clone(), listener.clone())).collect()
}

fn upstreams(config: &Config) -> Vec<(String, Upstream)> {
    let alone = |upstream: &Upstream| Upstream { servers: Vec::new(), ..upstream.clone() };
    config.upstreams.iter().map(|upstream| (upstream.name.clone(), alone(upstream))).collect()
}

fn servers(config: &Config) -> Vec<(String, Server)> {
    let named = |upstream: &Upstream, server: &Server| (format!("{}/{}", upstream.name, server.name), server.clone());
    let all =
        config.upstreams.iter().flat_map(|upstream| upstream.servers.iter().map(move |server| named(upstream, server)));
    all.collect()
}

fn difference<T: PartialEq, P: PartialEq>(
    earlier: &[(String, T)],
    later: &[(String, T)],
    place: impl Fn(&T) -> P,
) -> Difference {
    let mut difference = Difference::default();
    for (name, thing) in later {
        match find(earlier, name) {
            None => difference.added.push(name.clone()),
            Some(before) if place(before) != place(thing) => difference.moved.push(name.clone()),
            Some(before) if before != thing => difference.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let removed = earlier.iter().filter(|(name, _)| find(later, name).is_none());
    difference.removed = removed.map(|(name, _)| name.clone()).collect();
    for names in [&mut difference.added, &mut difference.removed, &mut difference.moved, &mut difference.changed] {
        names.sort_unstable();
    }
    difference
}

fn find<'a, T>(things: &'a [(String, T)], name: &str) -> Option<&'a T> {
    things.iter().find(|(other, _)| other == name).map(|(_, thing)| thing)
}

impl Difference {
    fn parts(&self, kind: &str) -> impl Iterator<Item = String> {
        let named =
            [("added", &self.added), ("removed", &self.removed), ("moved", &self.moved), ("changed", &self.changed)];
        let some = named.into_iter().filter(|(_, names)| !names.is_empty());
        let kind = kind.to_owned();
        some.map(move |(how, names)| {
            format!("{kind}{} {how}: {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
        })
    }
}

/// `listener added: tls; servers removed: pg/a, pg/b`, or that there is nothing.
impl Display for Changes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = [("listener", &self.listeners), ("upstream", &self.upstreams), ("server", &self.servers)];
        let mut parts: Vec<String> = named.iter().flat_map(|(kind, difference)| difference.parts(kind)).collect();
        if self.general {
            parts.push("what holds for all changed".to_owned());
        }
        if parts.is_empty() {
            parts.push("nothing changed".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}
