//! What a supervisor's command line says that cannot change while it goes on as another binary: that is refused rather than
//! ignored.

use std::fmt::Display;

use minicbor::{Decode, Encode};

/// Such options by their names, each with what it is set to, as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct Fixed(#[n(0)] Vec<(String, String)>);

impl Fixed {
    /// One option more. `None`: it is not given.
    pub(crate) fn with(mut self, name: &str, value: Option<impl Display>) -> Self {
        let value = value.map_or_else(|| "not given".to_owned(), |value| value.to_string());
        self.0.push((name.to_owned(), value));
        self
    }

    /// Why this cannot take the place of what was said `before`, if it cannot: each option that differs, with both values. One
    /// that only one of two versions has is nobody's business.
    pub(crate) fn contradiction(&self, before: &Self) -> Option<String> {
        let of = |name: &String| before.0.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        let changes: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, now)| Some((name, of(name)?, now)).filter(|(_, before, now)| before != now))
            .map(|(name, before, now)| format!("{name} was {before} and is to be {now}"))
            .collect();
        (!changes.is_empty()).then(|| format!("{}, which cannot change while the supervisor runs", changes.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_that_differs_is_named_with_both_values() {
        let before = Fixed::default().with("--hand-over", Some("queue")).with("--gone", Some(1));
        let before = before.with("--pid-file", None::<&str>).with("--path", Some("/a"));
        assert_eq!(before.contradiction(&before), None);
        let now =
            Fixed::default().with("--hand-over", Some("listen")).with("--new", Some(2)).with("--path", Some("/a"));
        let now = now.with("--pid-file", Some("/run/x"));
        assert_eq!(
            now.contradiction(&before).unwrap(),
            "--hand-over was queue and is to be listen, --pid-file was not given and is to be /run/x, which cannot change \
             while the supervisor runs"
        );
    }
}
