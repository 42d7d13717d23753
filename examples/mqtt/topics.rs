//! Who has subscribed to what, and which topics a filter is about.

use std::collections::BTreeMap;

use reactord::PeerId;

/// The subscribers of each filter, with the QoS that each was granted. Sessions know it as well, each for its own client, so
/// it need not be saved.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(BTreeMap<String, BTreeMap<PeerId, u8>>);

impl Subscriptions {
    pub(crate) fn insert(&mut self, filter: &str, peer: PeerId, qos: u8) {
        self.0.entry(filter.to_owned()).or_default().insert(peer, qos);
    }

    pub(crate) fn remove(&mut self, filter: &str, peer: PeerId) {
        if let Some(peers) = self.0.get_mut(filter) {
            peers.remove(&peer);
            if peers.is_empty() {
                self.0.remove(filter);
            }
        }
    }

    /// Who is to get what is published about this topic, once each.
    pub(crate) fn subscribers(&self, topic: &str) -> BTreeMap<PeerId, u8> {
        let mut subscribers = BTreeMap::new();
        for (peer, qos) in self.0.iter().filter(|(filter, _)| matches(filter, topic)).flat_map(|(_, peers)| peers) {
            let granted = subscribers.entry(*peer).or_insert(*qos);
            *granted = (*granted).max(*qos);
        }
        subscribers
    }
}

/// Whether a filter is one: `#` is the last level if it is one, and either wildcard is a level of its own.
pub(crate) fn is_filter(filter: &str) -> bool {
    let wild = |level: &str| level.contains(['#', '+']);
    let rest = filter.strip_suffix("/#").or(filter.strip_suffix('#').filter(|rest| rest.is_empty())).unwrap_or(filter);
    !filter.is_empty() && rest.split('/').all(|level| level == "+" || !wild(level))
}

/// Whether something can be published about a topic.
pub(crate) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['#', '+', '\0'])
}

/// Whether a filter is about a topic. The server's own topics begin with `$`, which no wildcard stands for.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_about_what_the_standard_says() {
        for (filter, topic) in
            [("a/b", "a/b"), ("a/#", "a"), ("a/#", "a/b/c"), ("#", "é/b"), ("+/b", "a/b"), ("+", "a")]
        {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("a/b", "a"), ("a", "a/b"), ("+", "a/b"), ("#", "$SYS/a"), ("+/a", "$SYS/a"), ("a/+", "a")]
        {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn wildcards_are_levels_of_their_own() {
        for filter in ["#", "a/#", "+", "+/a/+", "/", "a//b"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "#/a", "a+", "a/b+/c", "a/##"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn who_has_subscribed_twice_gets_a_message_once_with_the_higher_qos() {
        let [one, other] = [1, 2].map(PeerId::from);
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert("a/#", one, 1);
        subscriptions.insert("#", one, 0);
        subscriptions.insert("a/b", other, 0);
        assert_eq!(subscriptions.subscribers("a/b"), BTreeMap::from([(one, 1), (other, 0)]));
        subscriptions.remove("a/#", one);
        subscriptions.remove("a/b", other);
        assert_eq!(subscriptions.subscribers("a/b"), BTreeMap::from([(one, 0)]));
    }
}
