//! The command line: argh, with `--option=value` and with exit code 2 for whatever cannot be understood.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use argh::{EarlyExit, TopLevelCommand};

use crate::standard_output::say;

/// The exit code for a command line that cannot be understood.
pub const EXIT_USAGE: u8 = 2;

/// Parses this process's arguments.
///
/// # Errors
/// The exit code to leave with, after what is to be said has been said: 0 after `--help`, on standard output;
/// [`EXIT_USAGE`] after an error, on standard error.
pub fn parse<T: TopLevelCommand>(program: &str) -> Result<T, ExitCode> {
    parse_these(program, std::env::args_os().skip(1))
}

/// Parses these arguments, as [`parse`] does with the process's own. `program` may have the name of a subcommand after
/// its own, so that who has got it wrong is sent to the right help.
///
/// # Errors
/// As [`parse`].
pub fn parse_these<T: TopLevelCommand>(
    program: &str,
    arguments: impl Iterator<Item = OsString>,
) -> Result<T, ExitCode> {
    match parse_from(program, arguments) {
        Ok(command) => Ok(command),
        Err(EarlyExit { output, status: Ok(()) }) => {
            say(&format!("{}\n", output.trim_end()));
            Err(ExitCode::SUCCESS)
        }
        Err(EarlyExit { output, .. }) => {
            // argh begins with what it was doing; that it is an error is plain to see.
            let message = output.strip_prefix("Error parsing ").unwrap_or(&output);
            Err(usage_error(program, message.trim_end()))
        }
    }
}

/// Says on standard error what is wrong with the command line, and returns the exit code for it.
pub fn usage_error(program: &str, message: &str) -> ExitCode {
    // Where standard error takes nothing, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "{program}: {message}\nRun {program} --help for more information.");
    ExitCode::from(EXIT_USAGE)
}

fn parse_from<T: TopLevelCommand>(program: &str, arguments: impl Iterator<Item = OsString>) -> Result<T, EarlyExit> {
    let arguments = split_values(arguments)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = program.split_once(' ').map_or(program, |(program, _)| program);
    T::from_args(&[program], &arguments)
}

/// Turns `--option=value` into the two arguments that argh expects, up to a lone `--`.
fn split_values(arguments: impl Iterator<Item = OsString>) -> Result<Vec<String>, EarlyExit> {
    let mut split = Vec::new();
    let mut options_ended = false;
    for argument in arguments {
        let argument = argument
            .into_string()
            .map_err(|argument| EarlyExit::from(format!("argument {argument:?} is not valid UTF-8")))?;
        options_ended |= argument == "--";
        match argument.split_once('=') {
            Some((option, value)) if !options_ended && option.starts_with("--") => {
                split.extend([option.to_owned(), value.to_owned()]);
            }
            _ => split.push(argument),
        }
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    /// A command for the tests.
    #[derive(argh::FromArgs, Debug, PartialEq)]
    struct Command {
        /// a value
        #[argh(option, short = 'p')]
        port: u16,
    }

    fn parsed(arguments: &[&str]) -> Result<Command, EarlyExit> {
        parse_from("test", arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_value_may_follow_an_equals_sign_or_a_space() {
        assert_eq!(parsed(&["--port=7"]).unwrap(), Command { port: 7 });
        assert_eq!(parsed(&["--port", "7"]).unwrap(), Command { port: 7 });
        assert_eq!(parsed(&["-p", "7"]).unwrap(), Command { port: 7 });
    }

    #[test]
    fn only_the_first_equals_sign_splits_and_none_after_a_double_dash() {
        let split = |arguments: &[&str]| split_values(arguments.iter().map(OsString::from)).unwrap();
        assert_eq!(split(&["--path=a=b", "c=d"]), ["--path", "a=b", "c=d"]);
        assert_eq!(split(&["--", "--path=a"]), ["--", "--path=a"]);
    }

    #[test]
    fn what_cannot_be_parsed_is_named() {
        let error = parsed(&["--port=99999"]).unwrap_err();
        assert!(error.status.is_err());
        assert!(error.output.contains("99999"), "{}", error.output);

        let error = parse_from::<Command>("test", std::iter::once(OsString::from_vec(vec![b'-', 0xff]))).unwrap_err();
        assert!(error.output.contains("not valid UTF-8"), "{}", error.output);
    }
}
