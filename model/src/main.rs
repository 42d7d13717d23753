//! Checks the takeover, moves, a standby and the queue, and the mutants of all four, and prints what came of it.

use std::process::ExitCode;
use std::time::Instant;

use argh::FromArgs;
use reactord_model::check;
use reactord_model::moves::Moves;
use reactord_model::protocol::Protocol;
use reactord_model::queue::Queue;
use reactord_model::standby::Standby;
use reactord_model::visit::{Mutable, Visited};
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
        as_expected &= table_of("the takeover", Protocol::default());
    }
    if all || moves {
        as_expected &= table_of("moves", Moves { mutant: None, bytes_max });
    }
    if all || standby {
        as_expected &= table_of("a standby", Standby::default());
    }
    if all || queue {
        as_expected &= table_of("the queue", Queue::default());
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The lines of a model and of its mutants. Whether the former holds, and the latter are caught.
fn table_of<M: Mutable>(name: &str, model: M) -> bool {
    let as_expected = held(name, model);
    M::MUTANTS.iter().fold(as_expected, |as_expected, mutant| caught(model, *mutant) && as_expected)
}

/// Prints the line of a model. Whether all its properties hold, and all its examples are found.
fn held<M: Mutable>(name: &str, model: M) -> bool {
    let (always, sometimes) = (M::always(), M::sometimes());
    let (checker, took_s) = timed(|| check(model));
    let discoveries = checker.discoveries();
    let found = |properties: &[Property<M>]| properties.iter().filter(|p| discoveries.contains_key(p.name)).count();
    let (broken, reached) = (found(&always), found(&sometimes));
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
fn caught<M: Mutable>(model: M, mutant: M::Mutant) -> bool {
    let property = M::caught_by(mutant);
    let (checker, took_s) = timed(|| check(model.with(mutant)));
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
    let path = path(name, Protocol::default())
        .or_else(|| path(name, Moves { mutant: None, bytes_max }))
        .or_else(|| path(name, Standby::default()))
        .or_else(|| path(name, Queue::default()));
    path.unwrap_or_else(|| {
        let [takeover, moves] = [names::<Protocol>(), names::<Moves>()];
        let [standby, queue] = [names::<Standby>(), names::<Queue>()];
        eprintln!("there is no mutant {name}; there are {takeover}, of moves {moves}, of a standby {standby}, and of the queue {queue}");
        ExitCode::FAILURE
    })
}

fn names<M: Mutable>() -> String {
    format!("{:?}", M::MUTANTS)
}

/// The same, if it is one of this model.
fn path<M: Mutable>(name: &str, model: M) -> Option<ExitCode> {
    let mutant = *M::MUTANTS.iter().find(|mutant| format!("{mutant:?}") == name)?;
    let property = M::caught_by(mutant);
    let Some(path) = check(model.with(mutant)).discovery(property) else {
        eprintln!("{mutant:?} breaks nothing");
        return Some(ExitCode::FAILURE);
    };
    println!("{mutant:?} breaks \"{property}\":");
    trace::<M>(path);
    Some(ExitCode::SUCCESS)
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
