//! For bash, with or without the package bash-completion. Where it offers nothing itself, bash offers files.

use std::fmt::Write;

use super::{bare, note, quoted};
use crate::Described;
use crate::help::{Flag, Value};

pub(super) fn script(program: &Described, commands: &[Described]) -> String {
    let name = &program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let mut script = note(name);
    script.push_str(&format!(
        "{function}() {{\n    \
             local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command= word\n    \
             # bash takes --option=value apart.\n    \
             [[ $current == = ]] && current=\n    \
             [[ $before == = ]] && before=${{COMP_WORDS[COMP_CWORD - 2]}}\n    \
             [[ -z $current && ${{COMP_WORDS[COMP_CWORD]}} == = ]] && before=${{COMP_WORDS[COMP_CWORD - 1]}}\n    \
             for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        \
                 # What follows belongs to another program.\n        \
                 [[ $word == -- ]] && return\n    \
             done\n    \
             ((COMP_CWORD > 1)) && [[ ${{COMP_WORDS[1]}} != -* ]] && command=${{COMP_WORDS[1]}}\n    \
             case \"$command $before\" in\n"
    ));
    for one in std::iter::once(program).chain(commands) {
        let command = if std::ptr::eq(one, program) { "" } else { bare(one) };
        one.help.options.iter().for_each(|option| values(&mut script, command, option));
    }
    script.push_str("    esac\n    case \"$command:$current\" in\n");
    for command in commands {
        let _ = writeln!(script, "    {}:-*) word={} ;;", bare(command), quoted(&options(command)));
    }
    let _ = writeln!(script, "    :-*) word={} ;;", quoted(&options(program)));
    let names = commands.iter().map(bare).collect::<Vec<_>>().join(" ");
    let _ = writeln!(script, "    :*) ((COMP_CWORD == 1)) && word={} || word= ;;", quoted(&names));
    script.push_str("    *) return ;;\n    esac\n    COMPREPLY=($(compgen -W \"$word\" -- \"$current\"))\n}\n");
    let _ = writeln!(script, "complete -o bashdefault -o default -F {function} {name}");
    script
}

/// The arm for what follows an option.
fn values(script: &mut String, command: &str, option: &Flag) {
    let patterns = option.names.iter().map(|name| quoted(&format!("{command} {name}"))).collect::<Vec<_>>().join(" | ");
    let _ = match option.kind() {
        Value::Nothing => Ok(()),
        Value::File => writeln!(script, "    {patterns}) return ;;"),
        Value::Any(_) => writeln!(script, "    {patterns}) compopt +o default +o bashdefault; return ;;"),
        Value::OneOf(values) => writeln!(
            script,
            "    {patterns}) COMPREPLY=($(compgen -W '{}' -- \"$current\")); return ;;",
            values.join(" ")
        ),
    };
}

fn options(command: &Described) -> String {
    command.help.options.iter().flat_map(|option| option.names.clone()).collect::<Vec<_>>().join(" ")
}
