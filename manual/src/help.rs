//! What a program says at `--help`, as values. The shape is argh's: sections with a heading, entries that are indented by
//! two columns, and what is told of them from column 20 on.

/// What a program has printed.
pub(crate) struct Screen(pub(crate) String);

/// The column in which the text of an entry begins.
const TEXT_COLUMN: usize = 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Help {
    /// The usage without the name of the program, such as `[--json] [--] <PATH>`.
    pub(crate) usage: Vec<Usage>,
    pub(crate) about: String,
    pub(crate) positionals: Vec<Entry>,
    pub(crate) options: Vec<Flag>,
    pub(crate) commands: Vec<Entry>,
    pub(crate) examples: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) exit_codes: Vec<Entry>,
}

/// One piece of a usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) option: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) is_optional: bool,
}

/// A name, and what is told of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// An option, under all its names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    /// With their dashes, the short one first.
    pub(crate) names: Vec<String>,
    pub(crate) value: Option<String>,
    pub(crate) text: String,
}

impl Flag {
    /// Whether it may be given several times.
    pub(crate) fn repeats(&self) -> bool {
        self.value.as_ref().is_some_and(|value| value.ends_with("..."))
    }

    /// What its value is called.
    pub(crate) fn value_name(&self) -> Option<&str> {
        self.value.as_deref().map(|value| value.trim_end_matches("..."))
    }

    /// What its value may be.
    pub(crate) fn kind(&self) -> Value<'_> {
        match self.value_name() {
            None => Value::Nothing,
            Some(name) if name.contains('|') => {
                Value::OneOf(name.split('|').filter(|value| !is_a_name(value)).collect())
            }
            Some("PATH" | "FILE" | "B" | "DIR" | "BINARY" | "PROGRAM" | "file" | "path" | "program") => Value::File,
            Some(name) => Value::Any(name),
        }
    }
}

/// Whether it stands for a value instead of being one, such as N.
fn is_a_name(value: &str) -> bool {
    value.chars().all(|character| character.is_ascii_uppercase())
}

/// The value of an option, as a shell can complete it.
pub(crate) enum Value<'a> {
    Nothing,
    OneOf(Vec<&'a str>),
    File,
    Any(&'a str),
}

impl Help {
    pub(crate) fn parse(Screen(screen): &Screen) -> Self {
        let mut help = Self::default();
        let mut heading = "About:";
        for line in screen.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("Usage: ") {
                Some(usage) => help.usage = pieces(usage),
                None if !line.starts_with(' ') && line.ends_with(':') => heading = line,
                None => help.take(heading, line),
            }
        }
        for option in &mut help.options {
            let piece =
                help.usage.iter().find(|piece| piece.option.as_ref().is_some_and(|it| option.names.contains(it)));
            option.value = piece.and_then(|piece| piece.value.clone());
        }
        help
    }

    fn take(&mut self, heading: &str, line: &str) {
        match heading {
            "About:" => append(&mut self.about, line),
            "Positional Arguments:" => take_entry(&mut self.positionals, line),
            "Options:" => take_option(&mut self.options, line),
            "Commands:" => take_entry(&mut self.commands, line),
            "Examples:" => self.examples.push(line.trim().to_owned()),
            "Notes:" => self.notes.push(line.trim().to_owned()),
            "Error codes:" => {
                let (code, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
                self.exit_codes.push(Entry { name: code.to_owned(), text: text.to_owned() });
            }
            _ => panic!("--help has a section that is not known: {heading}"),
        }
    }
}

/// What follows the program and its command in a usage.
fn pieces(usage: &str) -> Vec<Usage> {
    let mut pieces: Vec<Usage> = Vec::new();
    let words = usage.split(' ').skip_while(|word| !word.starts_with(['[', '<', '-']));
    for word in words.filter(|word| *word != "[--]") {
        let is_optional = word.starts_with('[');
        let bare = word.trim_matches(['[', ']']);
        match bare.strip_prefix('<').and_then(|value| value.strip_suffix('>')) {
            Some(value) => match pieces
                .last_mut()
                .filter(|piece| piece.option.is_some() && piece.value.is_none() && !word.starts_with('['))
            {
                Some(piece) if word.ends_with(']') == piece.is_optional => piece.value = Some(value.to_owned()),
                _ => pieces.push(Usage { option: None, value: Some(value.to_owned()), is_optional }),
            },
            None => pieces.push(Usage { option: Some(bare.to_owned()), value: None, is_optional }),
        }
    }
    pieces
}

/// The name and the text of a line that begins an entry, or the text alone of one that goes on with it.
fn columns(line: &str) -> (Option<&str>, &str) {
    let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
    match (name, line.split_at_checked(TEXT_COLUMN)) {
        (None, _) => (None, line.trim()),
        (Some(_), Some((name, text))) if name.ends_with(' ') => (Some(name.trim()), text.trim()),
        (Some(name), _) => (Some(name.trim()), ""),
    }
}

fn take_entry(entries: &mut Vec<Entry>, line: &str) {
    match columns(line) {
        (Some(name), text) => entries.push(Entry { name: name.to_owned(), text: text.to_owned() }),
        (None, text) => append(&mut entries.last_mut().expect("a text belongs to an entry").text, text),
    }
}

fn take_option(options: &mut Vec<Flag>, line: &str) {
    match columns(line) {
        (Some(names), text) => options.push(Flag {
            names: names.split(", ").map(str::to_owned).collect(),
            value: None,
            text: text.to_owned(),
        }),
        (None, text) => append(&mut options.last_mut().expect("a text belongs to an option").text, text),
    }
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(more.trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: &str = "\
Usage: program send [-p <PORT...>] [--how <fast|slow>] [-v] --to <PATH> [--] <FROM> [<command>] [<args>]

Send what is there.

Positional Arguments:
  FROM              where it comes from

Options:
  -p, --listen-port port to listen on, as often as there are
                    ports
  --how             how
  -v, --verbose     say it
  --to              where it goes
  -h, --help        display usage information

Error codes:
  0 It has come.
";

    #[test]
    fn options_have_all_their_names_their_value_and_their_whole_text() {
        let help = Help::parse(&Screen(SCREEN.to_owned()));
        let [port, how, verbose, to, _] = &help.options[..] else { panic!("{:?}", help.options) };
        assert_eq!(port.names, ["-p", "--listen-port"]);
        assert_eq!(port.text, "port to listen on, as often as there are ports");
        assert!(port.repeats() && port.value_name() == Some("PORT"));
        assert!(matches!(how.kind(), Value::OneOf(values) if values == ["fast", "slow"]));
        assert!(matches!(verbose.kind(), Value::Nothing));
        assert!(matches!(to.kind(), Value::File));
    }

    #[test]
    fn positionals_and_exit_codes_are_told_apart_from_options() {
        let help = Help::parse(&Screen(SCREEN.to_owned()));
        assert_eq!(help.about, "Send what is there.");
        assert_eq!(help.positionals, [Entry { name: "FROM".to_owned(), text: "where it comes from".to_owned() }]);
        assert_eq!(help.exit_codes, [Entry { name: "0".to_owned(), text: "It has come.".to_owned() }]);
        let of = |name: &str| help.usage.iter().find(|piece| piece.value.as_deref() == Some(name)).cloned();
        assert_eq!(of("FROM").map(|piece| (piece.option, piece.is_optional)), Some((None, false)));
        assert_eq!(of("PATH").map(|piece| (piece.option, piece.is_optional)), Some((Some("--to".to_owned()), false)));
    }
}
