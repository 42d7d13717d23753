//! Which name leads where.

use std::collections::BTreeMap;

/// Where clients are led by the name that they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sni {
    /// Upstreams by whole names, in lower case.
    exact: BTreeMap<String, String>,
    /// Upstreams by what names end with, without the dot: `example.org` for `*.example.org`.
    below: BTreeMap<String, String>,
    /// The upstream of those who ask for another name or for none. `None` is that they are closed.
    pub otherwise: Option<String>,
}

impl Sni {
    /// Leads no names yet, and all clients to this upstream, or nowhere.
    #[must_use]
    pub fn new(otherwise: Option<String>) -> Self {
        Self { otherwise, ..Self::default() }
    }

    /// Leads names to an upstream: one name, or with `*.` in front all that end with the rest. Gives back `false` if that
    /// was led somewhere before.
    pub fn lead(&mut self, names: &str, upstream: &str) -> bool {
        let names = names.to_ascii_lowercase();
        let before = match names.strip_prefix("*.") {
            Some(domain) => self.below.insert(domain.to_owned(), upstream.to_owned()),
            None => self.exact.insert(names, upstream.to_owned()),
        };
        before.is_none()
    }

    /// The upstream for a name: what is said of the whole name goes before what is said of its end, and of that the longest.
    #[must_use]
    pub fn upstream(&self, name: Option<&str>) -> Option<&str> {
        let named = name.map(str::to_ascii_lowercase).and_then(|name| self.led(name.trim_end_matches('.')));
        named.or(self.otherwise.as_deref())
    }

    fn led(&self, name: &str) -> Option<&str> {
        let ends = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        let longest = || ends.into_iter().find_map(|end| self.below.get(end));
        self.exact.get(name).or_else(longest).map(String::as_str)
    }

    /// Every upstream that clients may be led to.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.exact.values().chain(self.below.values()).chain(&self.otherwise).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_name_goes_before_its_end_and_the_longest_end_before_others() {
        let mut sni = Sni::new(Some("rest".to_owned()));
        assert!(sni.lead("api.Example.org", "api") && sni.lead("*.example.org", "web"));
        assert!(sni.lead("*.eu.example.org", "eu") && !sni.lead("API.example.org", "api"));
        let cases = [
            (Some("API.example.ORG"), "api"),
            (Some("api.example.org."), "api"),
            (Some("a.example.org"), "web"),
            (Some("a.b.example.org"), "web"),
            (Some("a.eu.example.org"), "eu"),
            (Some("example.org"), "rest"),
            (Some("badexample.org"), "rest"),
            (None, "rest"),
        ];
        for (name, upstream) in cases {
            assert_eq!(sni.upstream(name), Some(upstream), "{name:?}");
        }
        sni.otherwise = None;
        assert_eq!(sni.upstream(Some("example.org")), None);
    }
}
