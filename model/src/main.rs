//! Checks the protocol and its mutants, and prints what came of it.

use std::process::ExitCode;
use std::time::Instant;

use argh::FromArgs;
use reactord_model::action::Action;
use reactord_model::mutants::Mutant;
use reactord_model::protocol::Protocol;
use reactord_model::{check, properties};
use stateright::Checker;

/// Checks the ownership protocol of the takeover, and that the check finds faults.
#[derive(FromArgs)]
struct Arguments {
    /// print how this mutant comes to break its property
    #[argh(option)]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    match arguments.mutant {
        None => table(),
        Some(name) => match Mutant::from_name(&name) {
            Some(mutant) => counterexample(mutant),
            None => {
                eprintln!("there is no mutant {name}; there are {:?}", Mutant::ALL);
                ExitCode::FAILURE
            }
        },
    }
}

/// The protocol and all mutants. Succeeds if the former holds and the latter are caught.
fn table() -> ExitCode {
    println!("| variant | states | depth | s | verdict |");
    println!("| --- | ---: | ---: | ---: | --- |");
    let mut as_expected = true;
    for mutant in std::iter::once(None).chain(Mutant::ALL.map(Some)) {
        let began = Instant::now();
        let checker = check(Protocol { mutant });
        let discoveries = checker.discoveries();
        let broken: Vec<_> = properties::always().iter().filter_map(|p| discoveries.get_key_value(p.name)).collect();
        let (variant, verdict) = match mutant {
            None => {
                let reached = properties::sometimes().iter().filter(|p| discoveries.contains_key(p.name)).count();
                as_expected &= broken.is_empty() && reached == properties::sometimes().len();
                let held = properties::always().len() - broken.len();
                ("the protocol".to_owned(), format!("{held} properties hold, {reached} examples found"))
            }
            Some(mutant) => {
                let caught = discoveries.get(mutant.caught_by());
                as_expected &= caught.is_some();
                let verdict = match caught {
                    Some(path) => {
                        let steps = path.clone().into_actions().len();
                        format!("caught in {steps} steps: not \"{}\"", mutant.caught_by())
                    }
                    None => "NOT CAUGHT".to_owned(),
                };
                (format!("`{mutant:?}`"), verdict)
            }
        };
        let (states, depth, took_s) =
            (checker.unique_state_count(), checker.max_depth(), began.elapsed().as_secs_f32());
        println!("| {variant} | {states} | {depth} | {took_s:.1} | {verdict} |");
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn counterexample(mutant: Mutant) -> ExitCode {
    let checker = check(Protocol { mutant: Some(mutant) });
    let Some(path) = checker.discovery(mutant.caught_by()) else {
        eprintln!("{mutant:?} breaks nothing");
        return ExitCode::FAILURE;
    };
    println!("{mutant:?} breaks \"{}\":", mutant.caught_by());
    let steps = path.into_vec();
    let actions: Vec<Action> = steps.iter().filter_map(|(_, action)| *action).collect();
    for (number, action) in actions.iter().enumerate() {
        println!("{:3}. {action}", number + 1);
    }
    let protocol = Protocol { mutant: Some(mutant) };
    if let Some((state, _)) = steps.last() {
        for (pid, process) in state.processes.iter().enumerate() {
            let acts = if protocol.acts(process) { ", acts" } else { "" };
            println!("process {pid}: {:?}, {:?}{acts}", process.life, process.step);
        }
    }
    ExitCode::SUCCESS
}
