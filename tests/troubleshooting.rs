//! docs/troubleshooting.md has each line that is logged as a warning or an error, and no line that is not.
//!
//! A line is known by its fixed text: what the source fills in is `…` on the page. Lines are headings there, each in
//! backticks; what follows a colon in them, why a takeover was refused, is somewhere on the page, in backticks, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/troubleshooting.md";

/// The sources of what an operator runs; the client, which tests it, is its own user's.
const SOURCES: [&str; 5] = ["src", "process/src", "proxy/src", "cli/src", "supervisor/src"];

/// What is in no release, or only in tests.
const NOT_RUN: [&str; 5] = ["tests", "fault", "fuzzing", "script", "rehearsal"];

/// What begins a line, up to its text.
const LINES: [&str; 4] = ["warn!(", "error!(", "complain(format_args!(", "warning(format_args!("];

/// What begins a reason, up to its text, in the files that have those an operator can do something about.
const REASONS: [&str; 2] = ["write!(", "f.write_str("];
const FILES_OF_REASONS: [&str; 4] =
    ["src/takeover/predecessor.rs", "src/takeover/error.rs", "process/src/path.rs", "supervisor/src/fleet/report.rs"];

/// Files with lines that are nothing but a reason, or what another program has said. Their texts are where these are made.
const FILES_OF_BARE_LINES: [&str; 17] = [
    "cli/src/logger.rs",
    "proxy/src/lines.rs",
    "proxy/src/main.rs",
    "proxy/src/serving.rs",
    "src/commands.rs",
    "src/program/exit.rs",
    "src/fleet.rs",
    "src/lane.rs",
    "src/main.rs",
    "src/reactor.rs",
    "src/sources/callers.rs",
    "src/sources/queue.rs",
    "supervisor/src/asked.rs",
    "supervisor/src/children.rs",
    "supervisor/src/daemon.rs",
    "supervisor/src/supervisor.rs",
    "supervisor/src/traffic.rs",
];

/// Texts, and the files that they are in.
type Texts = BTreeMap<String, BTreeSet<String>>;

fn read_sources(directory: &Path, each: &mut dyn FnMut(&str, &str)) {
    for path in fs::read_dir(directory).expect("it is a directory").map(|entry| entry.expect("it can be read").path()) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a module's name is UTF-8");
        if NOT_RUN.contains(&name) {
            continue;
        }
        if path.is_dir() {
            read_sources(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("Rust is UTF-8");
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            each(path.to_str().expect("a path here is UTF-8"), source);
        }
    }
}

/// The texts that follow these beginnings.
fn texts<'a>(source: &'a str, beginnings: &[&str]) -> impl Iterator<Item = String> + use<'a> {
    let after = beginnings.iter().flat_map(|beginning| source.split(beginning).skip(1));
    let found = after.map(|rest| rest.trim_start().trim_start_matches("f,").trim_start());
    let found: Vec<&str> = found.filter(|rest| rest.starts_with('"')).collect();
    found.into_iter().map(|rest| pattern(literal(rest)))
}

/// A string literal, without its quotes, that `rest` begins with.
fn literal(rest: &str) -> &str {
    let rest = rest.strip_prefix('"').expect("it begins with one");
    let mut escaped = false;
    let end = rest.find(|letter| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    &rest[..end.expect("a literal ends")]
}

/// The fixed text of a literal, with `…` for each thing that is filled in.
fn pattern(literal: &str) -> String {
    let mut depth = 0;
    let mut text = String::new();
    for letter in literal.chars() {
        match letter {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                text.push('…');
            }
            '\\' => {}
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn has_text(pattern: &str) -> bool {
    pattern.contains(char::is_alphabetic)
}

/// What the page has in backticks, in headings and anywhere.
fn on_page(page: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let anywhere = page.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
    (headings.map(str::to_owned).collect(), anywhere.collect())
}

fn missing(texts: &Texts, page: &BTreeSet<String>) -> String {
    let missing = texts.iter().filter(|(text, _)| !page.contains(*text));
    missing
        .map(|(text, files)| format!("\n  `{text}`, of {}", Vec::from_iter(files.iter().cloned()).join(", ")))
        .collect()
}

#[test]
fn page_has_each_line_that_is_a_warning_or_an_error_and_each_reason_of_a_failed_takeover() {
    let (mut lines, mut reasons) = (Texts::new(), Texts::new());
    let mut note = |path: &str, source: &str| {
        for line in texts(source, &LINES) {
            if has_text(&line) {
                lines.entry(line).or_default().insert(path.to_owned());
            } else {
                assert!(FILES_OF_BARE_LINES.contains(&path), "{path} has a line without text of its own: {line}");
            }
        }
        for reason in texts(source, &REASONS).filter(|reason| FILES_OF_REASONS.contains(&path) && has_text(reason)) {
            reasons.entry(reason).or_default().insert(path.to_owned());
        }
    };
    for directory in SOURCES {
        read_sources(Path::new(directory), &mut note);
    }
    assert!(lines.len() > 40 && reasons.len() > 20, "the sources were read");

    let page = fs::read_to_string(PAGE).expect("the page is there");
    let (headings, anywhere) = on_page(&page);
    let (lines_missing, reasons_missing) = (missing(&lines, &headings), missing(&reasons, &anywhere));
    let stale: String =
        headings.iter().filter(|heading| !lines.contains_key(*heading)).map(|text| format!("\n  `{text}`")).collect();
    assert!(
        lines_missing.is_empty() && reasons_missing.is_empty() && stale.is_empty(),
        "\n{PAGE} lacks the headings:{lines_missing}\nand the reasons:{reasons_missing}\nand has lines that no source \
         writes:{stale}\n"
    );
}

#[test]
fn text_of_a_line_is_what_is_not_filled_in() {
    let source =
        "warn!(\n    \"{what} of \\\"{}\\\" is {count:?} \\\n         us\", 1); complain(format_args!(\"{error}\"))";
    assert_eq!(texts(source, &LINES).collect::<Vec<_>>(), ["… of \"…\" is … us", "…"]);
}
