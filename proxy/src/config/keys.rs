//! Which keys a file may have, and what was meant by others.

/// A table of the file, by how it is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// As a heading of the reference: `[listener.NAME]`, for instance.
    pub heading: &'static str,
    /// All keys it may have.
    pub keys: &'static [&'static str],
}

/// What stands before all tables.
pub(super) const TOP: Table = Table {
    heading: "at the beginning",
    keys: &["takeover", "metrics", "access_log", "defaults", "listener", "upstream"],
};

pub(super) const DEFAULTS: Table = Table {
    heading: "[defaults]",
    keys: &[
        "balance",
        "check",
        "connect_timeout",
        "eject",
        "half_close_timeout",
        "header_timeout",
        "idle_timeout",
        "keepalive",
        "max_connections",
        "on_down",
        "on_removed",
        "queue",
        "retries",
        "user_timeout",
    ],
};

pub(super) const LISTENER: Table = Table {
    heading: "[listener.NAME]",
    keys: &[
        "accept_proxy",
        "allow",
        "bind",
        "connection_rate",
        "deny",
        "half_close_timeout",
        "header_timeout",
        "idle_timeout",
        "keepalive",
        "max_connections",
        "otherwise",
        "sni",
        "tls",
        "upstream",
        "user_timeout",
    ],
};

pub(super) const LISTENER_TLS: Table = Table {
    heading: "tls of a listener",
    keys: &["alpn", "certificates", "client_auth", "client_ca", "key", "versions"],
};

pub(super) const CERTIFICATE: Table = Table { heading: "a certificate", keys: &["chain", "key"] };

pub(super) const UPSTREAM: Table = Table {
    heading: "[upstream.NAME]",
    keys: &[
        "balance",
        "check",
        "connect_timeout",
        "eject",
        "on_down",
        "queue",
        "retries",
        "send_proxy",
        "servers",
        "tls",
    ],
};

pub(super) const UPSTREAM_TLS: Table =
    Table { heading: "tls of an upstream", keys: &["alpn", "ca", "certificate", "key", "name", "verify", "versions"] };

pub(super) const SERVER: Table =
    Table { heading: "a server", keys: &["at", "backup", "max_connections", "name", "resolve", "weight"] };

pub(super) const CHECK: Table =
    Table { heading: "check", keys: &["every", "expect", "fall", "rise", "send", "within"] };

pub(super) const EJECT: Table = Table { heading: "eject", keys: &["failures", "for"] };

pub(super) const QUEUE: Table = Table { heading: "queue", keys: &["max", "within"] };

/// All tables that a file may have. The reference has a heading for each, and a line for each key.
pub const TABLES: [Table; 11] =
    [TOP, DEFAULTS, LISTENER, LISTENER_TLS, CERTIFICATE, UPSTREAM, SERVER, UPSTREAM_TLS, CHECK, EJECT, QUEUE];

/// What others call it.
const ELSEWHERE: [(&str, &str); 21] = [
    ("backend", "upstream"),
    ("ca-file", "ca"),
    ("crt", "certificates"),
    ("default_backend", "upstream"),
    ("frontend", "listener"),
    ("inter", "every"),
    ("interval", "every"),
    ("listen", "bind"),
    ("maxconn", "max_connections"),
    ("proxy_pass", "upstream"),
    ("proxy_protocol", "send_proxy"),
    ("proxy_ssl_name", "name"),
    ("proxy_ssl_trusted_certificate", "ca"),
    ("proxy_ssl_verify", "verify"),
    ("proxy_timeout", "idle_timeout"),
    ("server", "servers"),
    ("ssl", "tls"),
    ("ssl_certificate", "certificates"),
    ("ssl_protocols", "versions"),
    ("verifyhost", "name"),
    ("timeout", "within"),
];

/// What is wrong with a key that this table has not.
pub(super) fn unknown(key: &str, table: &Table) -> String {
    let known = |candidate: &&str| table.keys.contains(candidate);
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == key).map(|(_, ours)| *ours);
    if let Some(meant) = elsewhere.filter(known).or_else(|| closest(key, table.keys)) {
        return format!("unknown key {key}: did you mean {meant}?");
    }
    match TABLES.iter().find(|other| other.keys.contains(&key)) {
        Some(other) => format!("unknown key {key}: it belongs to {}, not to {}", other.heading, table.heading),
        None => format!("unknown key {key}: {} may have {}", table.heading, table.keys.join(", ")),
    }
}

/// The one of these words that is written almost like this one.
pub(super) fn closest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let distances = words.iter().map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), *known));
    let (distance, known) = distances.min()?;
    (distance <= 1 + word.chars().count() / 5).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_is_told_what_was_meant() {
        let cases = [
            ("idle-timeout", LISTENER, "unknown key idle-timeout: did you mean idle_timeout?"),
            ("uptsream", LISTENER, "unknown key uptsream: did you mean upstream?"),
            ("maxconn", SERVER, "unknown key maxconn: did you mean max_connections?"),
            ("balance", LISTENER, "unknown key balance: it belongs to [defaults], not to [listener.NAME]"),
            ("colour", QUEUE, "unknown key colour: queue may have max, within"),
        ];
        for (key, table, told) in cases {
            assert_eq!(unknown(key, &table), told);
        }
    }

    #[test]
    fn words_that_differ_in_more_than_a_slip_are_not_meant() {
        assert_eq!(closest("red", &["blue", "green"]), None);
        assert_eq!(closest("", &["blue"]), None);
        assert_eq!(closest("least_connection", &["least-connections", "round-robin"]), Some("least-connections"));
    }
}
