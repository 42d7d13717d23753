//! What a shell completes: one file for each program and shell, made as a whole.

mod bash;
mod fish;
mod zsh;

use crate::Described;

/// The files of a program whose commands follow it, with their texts.
pub(crate) fn of(described: &[Described]) -> impl Iterator<Item = (String, String)> {
    let [program, commands @ ..] = described else { panic!("a program is described before its commands") };
    let name = &program.name;
    [
        (format!("completions/{name}.bash"), bash::script(program, commands)),
        (format!("completions/_{name}"), zsh::script(program, commands)),
        (format!("completions/{name}.fish"), fish::script(program, commands)),
    ]
    .into_iter()
}

/// The comment with which each of them begins.
fn note(name: &str) -> String {
    format!("# Completes {name}(1). Made from its --help; CONTRIBUTING.md says how.\n")
}

/// The name of a command without that of its program.
fn bare(command: &Described) -> &str {
    command.name.rsplit(' ').next().unwrap_or(&command.name)
}

/// A text between single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
