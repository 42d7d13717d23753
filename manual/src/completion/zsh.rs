//! For zsh, by its function `_arguments`.

use std::fmt::Write;

use super::{bare, note, quoted};
use crate::Described;
use crate::help::{Flag, Value};

pub(super) fn script(program: &Described, commands: &[Described]) -> String {
    let name = &program.name;
    let mut script = format!("#compdef {name}\n{}\nlocal -a commands\ncommands=(\n", note(name));
    for command in commands {
        let about = command.help.about.trim_end_matches('.').replace(':', "\\:");
        let _ = writeln!(script, "    {}", quoted(&format!("{}:{about}", bare(command))));
    }
    script.push_str(
        ")\nif ((CURRENT == 2)) && [[ $words[2] != -* ]]; then\n    _describe command commands\n    return\nfi\n",
    );
    script.push_str("case $words[2] in\n");
    for command in commands {
        let _ = writeln!(script, "{})\n    shift words; ((CURRENT--))\n{}    ;;", bare(command), arguments(command));
    }
    let _ = writeln!(script, "*)\n{}    ;;\nesac", arguments(program));
    script
}

fn arguments(command: &Described) -> String {
    let mut call = "    _arguments -S \\\n".to_owned();
    for option in &command.help.options {
        let _ = writeln!(call, "        {} \\", argument(option));
    }
    call.push_str("        '*:file:_files'\n");
    call
}

/// One option, under all its names.
fn argument(option: &Flag) -> String {
    let names = &option.names;
    let text = option.text.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let value = match option.kind() {
        Value::Nothing => String::new(),
        Value::File => ":file:_files".to_owned(),
        Value::Any(name) => format!(":{name}: "),
        Value::OneOf(values) => format!(":value:({})", values.join(" ")),
    };
    let told = quoted(&format!("[{text}]{value}"));
    let with_equals = |name: &str| {
        let takes_equals = name.starts_with("--") && option.value.is_some();
        if takes_equals { format!("{name}=") } else { name.to_owned() }
    };
    let both = names.iter().map(|name| with_equals(name)).collect::<Vec<_>>();
    let both = if both.len() > 1 { format!("{{{}}}", both.join(",")) } else { both.concat() };
    let excludes = if option.repeats() { "'*'".to_owned() } else { quoted(&format!("({})", names.join(" "))) };
    format!("{excludes}{both}{told}")
}
