//! `docs/proxy.md` has every key that a file may have, with the default that it has.

mod file;

use file::{LEAST, with};
use reactord_proxy::config::{Config, TABLES};

const PAGE: &str = include_str!("../../docs/proxy.md");

/// The rows below a heading of the page, as the cells of each.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, below) =
        PAGE.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("there is no ### {heading}"));
    let rows = below.lines().take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn page_has_every_key_and_no_other_one() {
    for table in TABLES {
        let mut told: Vec<&str> = rows(table.heading).iter().map(|row| row[0].trim_matches('`')).collect();
        told.sort_unstable();
        let mut keys = table.keys.to_vec();
        keys.sort_unstable();
        assert_eq!(told, keys, "below ### {}", table.heading);
    }
}

#[test]
fn defaults_on_the_page_are_those_of_a_file_that_says_nothing() {
    let read = |text: &str| Config::read("proxy.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    let mut compared = 0;
    for table in TABLES {
        for row in rows(table.heading) {
            let (key, default) = (row[0].trim_matches('`'), row.get(2).copied().unwrap_or_default());
            let value = default.split_once(", or").map_or(default, |(value, _)| value);
            let is_value = value.starts_with('`') || value.parse::<u32>().is_ok();
            // A default that is told in words is compared elsewhere, and some belong to what the least file has not.
            if !is_value || value.contains("reactord-proxy.takeover") || ["resolve", "otherwise"].contains(&key) {
                continue;
            }
            let same = with(table.heading, &format!("{key} = {}", value.trim_matches('`')));
            let table_alone = with(table.heading, "");
            let is_within =
                !table.heading.starts_with('[') && !["at the beginning", "a server"].contains(&table.heading);
            let least = if is_within { &table_alone } else { LEAST };
            assert_eq!(read(&same), read(least), "{} {key} is not {value}", table.heading);
            compared += 1;
        }
    }
    assert!(compared > 25, "{compared}");
}

#[test]
fn page_has_every_figure() {
    let source = include_str!("../src/service/figures.rs");
    let figures: Vec<&str> = source.split('"').filter(|text| text.starts_with("proxy_")).collect();
    assert!(figures.len() > 10, "{figures:?}");
    for figure in figures {
        assert!(PAGE.contains(&format!("`{figure}`")), "{figure}");
    }
}

#[test]
fn mistakes_on_the_page_are_told_so() {
    let config = "upstream.api.servers = \"127.0.0.1:9\"\n".to_owned()
        + &with("[listener.NAME]", "maxconn = 5").replace("upstream = \"main\"", "upstream = \"ap\"")
        + "check = { within = \"3s\" }\n";
    let mistakes = Config::read("proxy.toml", &config).expect_err("it has mistakes");
    for mistake in mistakes.all {
        let told = mistake.what.replace("listener main", "listener tls");
        assert!(PAGE.contains(&format!(": {told}\n")), "{told}");
    }
}
