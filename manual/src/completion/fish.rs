//! For fish.

use std::fmt::Write;

use super::{bare, note};
use crate::Described;
use crate::help::{Flag, Value};

pub(super) fn script(program: &Described, commands: &[Described]) -> String {
    let name = &program.name;
    let mut script = note(name);
    for command in commands {
        let about = quoted(command.help.about.trim_end_matches('.'));
        let _ = writeln!(script, "complete -c {name} -n __fish_use_subcommand -f -a {} -d {about}", bare(command));
    }
    program.help.options.iter().for_each(|one| option(&mut script, name, "__fish_use_subcommand", one));
    for command in commands {
        let condition = format!("'__fish_seen_subcommand_from {}'", bare(command));
        command.help.options.iter().for_each(|one| option(&mut script, name, &condition, one));
    }
    script
}

fn option(script: &mut String, program: &str, condition: &str, option: &Flag) {
    let names = option.names.iter().map(|name| match name.strip_prefix("--") {
        Some(long) => format!(" -l {long}"),
        None => format!(" -s {}", name.trim_start_matches('-')),
    });
    let value = match option.kind() {
        Value::Nothing => String::new(),
        Value::File => " -r -F".to_owned(),
        Value::Any(_) => " -x".to_owned(),
        Value::OneOf(values) => format!(" -x -a {}", quoted(&values.join(" "))),
    };
    let _ = writeln!(
        script,
        "complete -c {program} -n {condition}{}{value} -d {}",
        names.collect::<String>(),
        quoted(&option.text)
    );
}

/// A text between single quotes, in which fish knows an escape.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
