//! A man page in mdoc(7). What lies between marks is made from `--help`, all else is written by hand:
//!
//! ```text
//! .\" --help: options
//! …
//! .\" --help: end
//! ```

use std::fmt::Write;

use crate::Described;
use crate::help::{Entry, Flag, Help};

/// Where the pages are.
pub(crate) const DIRECTORY: &str = "man";

const MARK: &str = ".\\\" --help: ";
const END: &str = ".\\\" --help: end";

/// The parts that a page has, in their order. Only that of a program with commands has some of these.
const PARTS: [&str; 4] = ["synopsis", "commands", "options", "exit codes"];

/// The file of the page about a command.
pub(crate) fn path(command: &str) -> String {
    format!("{DIRECTORY}/{}.1", command.replace(' ', "-"))
}

/// A page to begin with: what `--help` says, and places for what it does not.
pub(crate) fn first(described: &Described) -> String {
    let Described { name, help } = described;
    let title = name.replace(' ', "-");
    let about = help.about.trim_end_matches('.');
    let mut page = format!(".Dd November 26, 2026\n.Dt {} 1\n.Os\n.Sh NAME\n.Nm {title}\n", title.to_uppercase());
    page.push_str(&format!(".Nd {}\n.Sh SYNOPSIS\n{MARK}synopsis\n{END}\n", uncapitalized(&escaped(about))));
    page.push_str(&format!(".Sh DESCRIPTION\n{}.\n", escaped(about)));
    if !help.commands.is_empty() {
        page.push_str(&format!(".Sh COMMANDS\n{MARK}commands\n{END}\n.Sh OPTIONS\n"));
    }
    page.push_str(&format!("{MARK}options\n{END}\n.Sh EXIT STATUS\n{MARK}exit codes\n{END}\n"));
    if name.contains(' ') {
        page.push_str(&format!(".Sh SEE ALSO\n.Xr {} 1\n", program(name)));
    }
    renewed(&page, described).expect("it has all marks")
}

/// The page with its parts made anew.
///
/// # Errors
/// If a mark is missing.
pub(crate) fn renewed(page: &str, Described { name, help }: &Described) -> Result<String, String> {
    let parts = PARTS.iter().filter(|part| **part != "commands" || !help.commands.is_empty());
    parts.copied().try_fold(page.to_owned(), |page, part| {
        let text = match part {
            "synopsis" => synopsis(name, help),
            "commands" => commands(name, help),
            "options" => options(help),
            _ => exit_codes(help),
        };
        replaced(&page, part, &text)
    })
}

fn replaced(page: &str, part: &str, text: &str) -> Result<String, String> {
    let missing = || format!("the mark `{MARK}{part}` is missing, or `{END}` after it");
    let (before, rest) = page.split_once(&format!("{MARK}{part}\n")).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&format!("{END}\n")).ok_or_else(missing)?;
    Ok(format!("{before}{MARK}{part}\n{text}{END}\n{after}"))
}

fn synopsis(name: &str, help: &Help) -> String {
    let mut text = format!(".Nm {name}\n");
    for piece in &help.usage {
        let option = piece.option.as_ref().map(|option| format!("Fl {}", flag(option)));
        let value = piece.value.as_ref().map(|value| format!("Ar {}", argument(value)));
        let both = [option, value].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, ".{}{both}", if piece.is_optional { "Op " } else { "" });
    }
    text
}

fn commands(name: &str, help: &Help) -> String {
    let item = |command: &Entry| item(&format!("Xr {}\\-{} 1", program(name), command.name), &command.text);
    format!(".Bl -tag -width Ds\n{}.El\n", help.commands.iter().map(item).collect::<String>())
}

/// The program whose command this is.
fn program(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

fn options(help: &Help) -> String {
    let positionals = help.positionals.iter().map(|entry| item(&format!("Ar {}", argument(&entry.name)), &entry.text));
    let options = help.options.iter().map(|option| item(&names(option), &option.text));
    format!(".Bl -tag -width Ds\n{}.El\n", positionals.chain(options).collect::<String>())
}

fn exit_codes(help: &Help) -> String {
    let item = |Entry { name, text }: &Entry| item(name, text);
    format!(".Bl -tag -width Ds\n{}.El\n", help.exit_codes.iter().map(item).collect::<String>())
}

fn item(head: &str, text: &str) -> String {
    let text = escaped(text);
    // What begins with a value that is told of, such as `queue: …`, is to be typed so.
    let is_of_a_value = text.split(' ').next().is_some_and(|word| word.ends_with(':'));
    let text = if is_of_a_value { text } else { capitalized(&text) };
    format!(".It {head}\n{text}{}\n", if text.ends_with('.') { "" } else { "." })
}

fn names(option: &Flag) -> String {
    let value = option.value.as_ref().map_or(String::new(), |value| format!(" Ar {}", argument(value)));
    let names: Vec<String> = option.names.iter().map(|name| format!("Fl {}{value}", flag(name))).collect();
    names.join(" , ")
}

/// The name of an option without its first dash, which the macro `Fl` sets.
fn flag(option: &str) -> String {
    option.strip_prefix('-').unwrap_or(option).replace('-', "\\-")
}

/// The name of a value: the dots of one that may be repeated are none of a sentence, and a bar stands between two.
fn argument(value: &str) -> String {
    value.replace("...", " ...").replace('|', " | Ar ")
}

/// A text as mdoc(7) wants it, with each sentence on a line of its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace(". ", ".\n");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + characters.as_str()
}

fn uncapitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_lowercase().collect::<String>());
    first.unwrap_or_default() + characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Screen;

    fn described(screen: &str) -> Described {
        Described { name: "program send".to_owned(), help: Help::parse(&Screen(screen.to_owned())) }
    }

    #[test]
    fn what_is_written_by_hand_stays_when_the_options_change() {
        let before = described("Usage: program send [-q]\n\nSend it.\n\nOptions:\n  -q, --quiet       say nothing\n");
        let page = first(&before).replace(".Sh SEE ALSO", ".Sh HISTORY\nBy hand.\n.Sh SEE ALSO");
        let after = described(
            "Usage: program send [--to <A|B>]\n\nSend it.\n\nOptions:\n  --to              where it goes (-1: nowhere)\n",
        );
        let page = renewed(&page, &after).unwrap();
        assert!(page.contains(".Sh HISTORY\nBy hand.\n"), "{page}");
        assert!(page.contains(".It Fl \\-to Ar A | Ar B\nWhere it goes (\\-1: nowhere).\n"), "{page}");
        assert!(page.contains(".Nm program send\n.Op Fl \\-to Ar A | Ar B\n"), "{page}");
        assert!(!page.contains("quiet"), "{page}");
    }

    #[test]
    fn a_page_without_its_marks_is_refused() {
        let error = renewed(".Dd today\n", &described("Usage: program send\n\nSend it.\n")).unwrap_err();
        assert!(error.contains("--help: synopsis"), "{error}");
    }
}
