//! Checks the takeover, moves, a standby and the queue, and the mutants of all four, and prints what came of it.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Instant;

use argh::FromArgs;
use reactord_model::moves::{self, Moves};
use reactord_model::mutants::Mutant;
use reactord_model::protocol::Protocol;
use reactord_model::queue::{self, Queue};
use reactord_model::standby::{self, Standby};
use reactord_model::visit::Visited;
use reactord_model::{check, properties};
use stateright::{Checker, Path, Property};

/// Checks the ownership protocol of the takeover, of moves, of a standby and of the queue, and that the check finds faults.
#[derive(FromArgs)]
struct Arguments {
    /// print how this mutant comes to break its property
    #[argh(option)]
    mutant: Option<String>,
    /// moves alone
    #[argh(switch)]
    moves: bool,
    /// a standby alone
    #[argh(switch)]
    standby: bool,
    /// the queue of a worker with a standby alone
    #[argh(switch)]
    queue: bool,
    /// how many bytes clients send while peers move (default: 1)
    #[argh(option, default = "1")]
    bytes: u8,
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    match &arguments.mutant {
        Some(name) => counterexample(name, arguments.bytes),
        None => table(&arguments),
    }
}

/// The models that were asked for, or all, and all their mutants. Succeeds if the former hold and the latter are caught.
fn table(arguments: &Arguments) -> ExitCode {
    let Arguments { moves, standby, queue, bytes: bytes_max, .. } = *arguments;
    let all = !moves && !standby && !queue;
    println!("| variant | states | depth | s | verdict |");
    println!("| --- | ---: | ---: | ---: | --- |");
    let mut as_expected = true;
    if all {
        as_expected &= table_of_takeover();
    }
    if all || moves {
        as_expected &= table_of_moves(bytes_max);
    }
    if all || standby {
        as_expected &= table_of_standby();
    }
    if all || queue {
        as_expected &= table_of_queue();
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table_of_takeover() -> bool {
    let (always, sometimes) = (properties::always(), properties::sometimes());
    let mut as_expected = held("the takeover", || check(Protocol::default()), &always, &sometimes);
    for mutant in Mutant::ALL {
        as_expected &= caught(mutant, || check(Protocol { mutant: Some(mutant) }), mutant.caught_by());
    }
    as_expected
}

fn table_of_moves(bytes_max: u8) -> bool {
    let model = Moves { mutant: None, bytes_max };
    let (always, sometimes) = (moves::properties::always(), moves::properties::sometimes());
    let mut as_expected = held("moves", || moves::check(model), &always, &sometimes);
    for mutant in moves::mutants::Mutant::ALL {
        as_expected &= caught(mutant, || moves::check(Moves { mutant: Some(mutant), ..model }), mutant.caught_by());
    }
    as_expected
}

fn table_of_standby() -> bool {
    let (always, sometimes) = (standby::properties::always(), standby::properties::sometimes());
    let mut as_expected = held("a standby", || standby::check(Standby::default()), &always, &sometimes);
    for mutant in standby::mutants::Mutant::ALL {
        as_expected &= caught(mutant, || standby::check(Standby { mutant: Some(mutant) }), mutant.caught_by());
    }
    as_expected
}

fn table_of_queue() -> bool {
    let (always, sometimes) = (queue::properties::always(), queue::properties::sometimes());
    let mut as_expected = held("the queue", || queue::check(Queue::default()), &always, &sometimes);
    for mutant in queue::mutants::Mutant::ALL {
        as_expected &= caught(mutant, || queue::check(Queue { mutant: Some(mutant) }), mutant.caught_by());
    }
    as_expected
}

/// Prints the line of a model. Whether all its properties hold, and all its examples are found.
fn held<M: Visited, C: Checker<M>>(
    name: &str,
    check: impl FnOnce() -> C,
    always: &[Property<M>],
    sometimes: &[Property<M>],
) -> bool {
    let (checker, took_s) = timed(check);
    let discoveries = checker.discoveries();
    let found = |properties: &[Property<M>]| properties.iter().filter(|p| discoveries.contains_key(p.name)).count();
    let (broken, reached) = (found(always), found(sometimes));
    let kept = always.len() - broken;
    line(name, &checker, took_s, format!("{kept} properties hold, {reached} examples found"));
    for property in always.iter().filter(|property| discoveries.contains_key(property.name)) {
        eprintln!("broken: \"{}\"", property.name);
        trace::<M>(discoveries[property.name].clone());
    }
    for property in sometimes.iter().filter(|property| !discoveries.contains_key(property.name)) {
        eprintln!("not found: {}", property.name);
    }
    broken == 0 && reached == sometimes.len()
}

/// Prints the line of a mutant. Whether it breaks the property that it should.
fn caught<M: Visited, C: Checker<M>>(mutant: impl Debug, check: impl FnOnce() -> C, property: &'static str) -> bool {
    let (checker, took_s) = timed(check);
    let steps = checker.discovery(property).map(|path| path.into_actions().len());
    let verdict = match steps {
        Some(steps) => format!("caught in {steps} steps: not \"{property}\""),
        None => "NOT CAUGHT".to_owned(),
    };
    line(&format!("`{mutant:?}`"), &checker, took_s, verdict);
    steps.is_some()
}

fn timed<C>(check: impl FnOnce() -> C) -> (C, f32) {
    let began = Instant::now();
    let checker = check();
    (checker, began.elapsed().as_secs_f32())
}

fn line<M: Visited>(variant: &str, checker: &impl Checker<M>, took_s: f32, verdict: String) {
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("| {variant} | {states} | {depth} | {took_s:.1} | {verdict} |");
}

/// How the mutant with this name, of any model, comes to break its property.
fn counterexample(name: &str, bytes_max: u8) -> ExitCode {
    if let Some(mutant) = Mutant::from_name(name) {
        return path(mutant, check(Protocol { mutant: Some(mutant) }), mutant.caught_by());
    }
    if let Some(mutant) = moves::mutants::Mutant::from_name(name) {
        return path(mutant, moves::check(Moves { mutant: Some(mutant), bytes_max }), mutant.caught_by());
    }
    if let Some(mutant) = standby::mutants::Mutant::from_name(name) {
        return path(mutant, standby::check(Standby { mutant: Some(mutant) }), mutant.caught_by());
    }
    if let Some(mutant) = queue::mutants::Mutant::from_name(name) {
        return path(mutant, queue::check(Queue { mutant: Some(mutant) }), mutant.caught_by());
    }
    let (of_moves, of_standby, of_queue) =
        (moves::mutants::Mutant::ALL, standby::mutants::Mutant::ALL, queue::mutants::Mutant::ALL);
    eprintln!("there is no mutant {name}; there are {:?}, {of_moves:?}, {of_standby:?} and {of_queue:?}", Mutant::ALL);
    ExitCode::FAILURE
}

fn path<M: Visited>(mutant: impl Debug, checker: impl Checker<M>, property: &'static str) -> ExitCode {
    let Some(path) = checker.discovery(property) else {
        eprintln!("{mutant:?} breaks nothing");
        return ExitCode::FAILURE;
    };
    println!("{mutant:?} breaks \"{property}\":");
    trace::<M>(path);
    ExitCode::SUCCESS
}

/// Prints what happens on the way to a state, and the state.
fn trace<M: Visited>(path: Path<M::State, M::Action>) {
    let steps = path.into_vec();
    for (number, action) in steps.iter().filter_map(|(_, action)| action.as_ref()).enumerate() {
        println!("{:3}. {action}", number + 1);
    }
    if let Some((state, _)) = steps.last() {
        println!("{state:#?}");
    }
}
