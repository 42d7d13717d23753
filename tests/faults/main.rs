//! Every fault, at every step of a takeover, on both sides.
//!
//! ```text
//! cargo test --test faults --features fault-points                    a part of all this, in less than a minute
//! cargo test --test faults --features fault-points -- exhaustive      every fault at every step; writes docs/faults.md
//! cargo test --test faults --features fault-points -- random --schedules 2000
//! cargo test --test faults --features fault-points -- random --seed 7
//! cargo test --test faults --features fault-points -- random --moves --schedules 1000
//! cargo test --test faults --features fault-points -- storm --schedules 400
//! cargo test --test faults --features fault-points -- storm --seed 7 --clients 3000
//! ```

mod asked;
mod board;
mod cell;
mod client;
mod crowd;
mod expectation;
mod followed;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
#[path = "../harness/mod.rs"]
mod harness;
mod load;
mod moving;
mod nursed;
mod papers;
mod passing;
#[path = "../../src/fault/plan.rs"]
mod plan;
mod random;
mod secured;
mod standby;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "../harness/standby.rs"]
mod standbys;
mod storm;
mod supervised;
mod tally;
mod upgrades;
mod visited;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::ops::{AddAssign, Range};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use argh::FromArgs;
use cell::Cell;
use plan::{Fault, Point};

/// Lets takeovers fail at every step, in every way.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Exhaustive(Exhaustive),
    Cells(Cells),
    Random(Random),
    Storm(Storm),
}

/// Every fault at every step, and writes docs/faults.md.
#[derive(FromArgs)]
#[argh(subcommand, name = "exhaustive")]
struct Exhaustive {}

/// The cells of all matrices whose name contains a text, such as `successor:accept` or `taker:accept`.
#[derive(FromArgs)]
#[argh(subcommand, name = "cells")]
struct Cells {
    /// a part of the name
    #[argh(positional)]
    part: String,
}

/// Chains of takeovers, or moves to and fro, with kills, stops and delays at moments that a seed decides.
#[derive(FromArgs)]
#[argh(subcommand, name = "random")]
struct Random {
    /// the seed of the first schedule (default: 1)
    #[argh(option, default = "1")]
    seed: u64,

    /// how many schedules, each with the next seed (default: 1)
    #[argh(option, default = "1")]
    schedules: u64,

    /// moves between servers that go on, instead of takeovers
    #[argh(switch)]
    moves: bool,
}

/// Deaths of actives, standbys, and whoever takes over, under load, at moments that a seed decides.
#[derive(FromArgs)]
#[argh(subcommand, name = "storm")]
struct Storm {
    /// the seed of the first schedule (default: 1)
    #[argh(option, default = "1")]
    seed: u64,

    /// how many schedules, each with the next seed (default: 1)
    #[argh(option, default = "1")]
    schedules: u64,

    /// how many clients there are in each (default: 60, and 600 in one out of 16)
    #[argh(option)]
    clients: Option<usize>,

    /// how many schedules at once (default: 4)
    #[argh(option, default = "STORMS_AT_ONCE")]
    at_once: usize,
}

fn main() -> ExitCode {
    let began = Instant::now();
    let verdict = match argh::from_env::<Arguments>().command {
        None => run_quickly(),
        Some(Command::Exhaustive(_)) => run_exhaustively(),
        Some(Command::Cells(Cells { part })) => run_named(&part),
        Some(Command::Random(Random { seed, schedules, moves: false })) => run_schedules(seed..seed + schedules),
        Some(Command::Random(Random { seed, schedules, moves: true })) => run_moves(seed..seed + schedules),
        Some(Command::Storm(Storm { seed, schedules, clients, at_once })) => {
            run_storms(seed..seed + schedules, clients, at_once)
        }
    };
    match verdict {
        Ok(()) => {
            println!("faults: all good after {:.1} s", began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("faults: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run_quickly() -> Result<(), String> {
    let observed = run_cells(Cell::all(), is_quick, Cell::run)?;
    let of_moves = run_cells(moving::Cell::all(), is_quick_of_moves, moving::Cell::run)?;
    let of_upgrades = run_cells(upgrades::Cell::all(), |_| true, upgrades::Cell::run)?;
    papers::check_page(&observed, &of_moves, &of_upgrades)?;
    papers::check_crash_table(&observed)?;
    moving::papers::check_crash_table(&of_moves)?;
    run_standbys()?;
    run_schedules(1..21)?;
    run_moves(1..6)?;
    run_storms(1..4, None, STORMS_AT_ONCE)
}

/// Every fault at every step of a standby, and the controls.
fn run_standbys() -> Result<(), String> {
    run_cells(standby::Cell::all(), |_| true, standby::Cell::run)?;
    run_cells(followed::Cell::all(), |_| true, followed::Cell::run)?;
    run_cells(visited::Cell::all(), |_| true, visited::Cell::run)?;
    run_cells(supervised::Cell::all(), |_| true, supervised::Cell::run)?;
    standby::run_controls()?;
    storm::run_control()
}

fn run_exhaustively() -> Result<(), String> {
    let observed = run_cells(Cell::all(), |_| true, Cell::run)?;
    let of_moves = run_cells(moving::Cell::all(), |_| true, moving::Cell::run)?;
    let of_upgrades = run_cells(upgrades::Cell::all(), |_| true, upgrades::Cell::run)?;
    papers::check_crash_table(&observed)?;
    moving::papers::check_crash_table(&of_moves)?;
    papers::write_page(&observed, &of_moves, &of_upgrades);
    run_standbys()
}

fn run_named(part: &str) -> Result<(), String> {
    run_cells(Cell::all(), |cell| cell.to_string().contains(part), Cell::run)?;
    run_cells(moving::Cell::all(), |cell| cell.to_string().contains(part), moving::Cell::run)?;
    run_cells(upgrades::Cell::all(), |cell| cell.to_string().contains(part), upgrades::Cell::run)?;
    run_cells(standby::Cell::all(), |cell| cell.to_string().contains(part), standby::Cell::run)?;
    run_cells(followed::Cell::all(), |cell| cell.to_string().contains(part), followed::Cell::run)?;
    run_cells(visited::Cell::all(), |cell| cell.to_string().contains(part), visited::Cell::run)?;
    run_cells(supervised::Cell::all(), |cell| cell.to_string().contains(part), supervised::Cell::run)?;
    if standby::CONTROL.contains(part) { standby::run_controls().and_then(|()| storm::run_control()) } else { Ok(()) }
}

/// Whether a cell belongs to the quick form: at every step, both sides are killed, stopped, and fail in one further
/// way.
fn is_quick(cell: &Cell) -> bool {
    is_quick_at(cell.situation.point, cell.fault)
}

/// The same of moves.
fn is_quick_of_moves(cell: &moving::Cell) -> bool {
    is_quick_at(cell.situation.point, cell.fault)
}

fn is_quick_at(point: Point, fault: Fault) -> bool {
    let further = [Fault::Error, Fault::Truncate, Fault::Garbage, Fault::WrongStep, Fault::Close];
    let number = Point::all().position(|known| known == point).expect("all points are there");
    matches!(fault, Fault::Kill | Fault::Stop) || further[number % further.len()] == fault
}

/// How much runs at once. A schedule waits for its delays, and a cell that stops a process for a deadline.
const AT_ONCE: usize = 4;
const SCHEDULES_AT_ONCE: usize = 10;
const STORMS_AT_ONCE: usize = 4;
const STOPPED_AT_ONCE: usize = 24;

/// Something that is tried: a fault at a step.
trait Tried: fmt::Display + Copy + Eq + Hash + Send + 'static {
    fn fault(&self) -> Fault;
}

impl Tried for Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for moving::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for upgrades::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for followed::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for visited::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for supervised::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

impl Tried for standby::Cell {
    fn fault(&self) -> Fault {
        self.fault
    }
}

/// Runs the cells that are wanted.
fn run_cells<C: Tried, O: Send + 'static>(
    cells: Vec<C>,
    wanted: impl Fn(&C) -> bool,
    run: fn(C) -> O,
) -> Result<HashMap<C, O>, String> {
    let began = Instant::now();
    let cells = cells.into_iter().filter(wanted);
    let (stopped, others): (Vec<C>, Vec<C>) = cells.partition(|cell| cell.fault() == Fault::Stop);
    let (stopped, others) = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| run_all(stopped, STOPPED_AT_ONCE, run));
        let others = run_all(others, AT_ONCE, run);
        (stopped.join().expect("a cell that panics is caught"), others)
    });
    let (observed, failed): (Vec<_>, Vec<_>) =
        stopped.into_iter().chain(others).partition(|(_, observed)| observed.is_some());
    println!("{} cells as expected, {} not, in {:.1} s", observed.len(), failed.len(), began.elapsed().as_secs_f64());
    match failed.as_slice() {
        [] => Ok(observed.into_iter().filter_map(|(cell, observed)| Some((cell, observed?))).collect()),
        failed => Err(format!("not as expected: {}", listed(failed))),
    }
}

/// Runs the schedules of takeovers with these seeds.
fn run_schedules(seeds: Range<u64>) -> Result<(), String> {
    run_random("random", seeds, SCHEDULES_AT_ONCE, random::run, |tally| tally.faults)
}

/// Runs the schedules of moves with these seeds.
fn run_moves(seeds: Range<u64>) -> Result<(), String> {
    run_random("random --moves", seeds, SCHEDULES_AT_ONCE, moving::random::run, |tally| tally.faults)
}

/// Runs the storms with these seeds, with so many clients if it is said.
fn run_storms(seeds: Range<u64>, clients: Option<usize>, at_once: usize) -> Result<(), String> {
    run_random("storm", seeds, at_once, move |seed| storm::run(seed, clients), tally::Tally::kills)
}

/// Runs schedules, which `command` does again.
fn run_random<T>(
    command: &str,
    seeds: Range<u64>,
    at_once: usize,
    run: impl Fn(u64) -> T + Copy + Send + Sync + 'static,
    faults: fn(&T) -> u64,
) -> Result<(), String>
where
    T: Default + AddAssign + fmt::Display + Copy + Send + 'static,
{
    let began = Instant::now();
    let tallies = run_all(seeds.clone().map(Seed).collect(), at_once, move |Seed(seed)| run(seed));
    let (good, failed): (Vec<_>, Vec<_>) = tallies.into_iter().partition(|(_, tally)| tally.is_some());
    let mut total = T::default();
    good.iter().filter_map(|(_, tally)| *tally).for_each(|tally| total += tally);
    println!(
        "{} schedules good, {} not, seeds {seeds:?}, in {:.1} s: {total}",
        good.len(),
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    match failed.as_slice() {
        // A server that was built without the feature passes every fault point.
        [] if good.len() >= SCHEDULES_AT_ONCE && faults(&total) == 0 => Err("no fault has come about".to_owned()),
        [] => Ok(()),
        failed => Err(format!("failed: {}; `{command} --seed N` does it again", listed(failed))),
    }
}

/// The seed of a schedule.
#[derive(Clone, Copy)]
struct Seed(u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.0)
    }
}

fn listed<T: fmt::Display, R>(failed: &[(T, R)]) -> String {
    failed.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join("; ")
}

/// Does `task` with each of `subjects`, so many at once, and returns what came of it: nothing where it panicked.
fn run_all<T, R>(
    subjects: Vec<T>,
    at_once: usize,
    task: impl Fn(T) -> R + Copy + Send + Sync + 'static,
) -> Vec<(T, Option<R>)>
where
    T: fmt::Display + Copy + Send + 'static,
    R: Send + 'static,
{
    let subjects = Mutex::new(VecDeque::from(subjects));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(subject) = next(&subjects) {
                    // In a thread of its own, so that it may panic, and its panic has its name.
                    let thread = std::thread::Builder::new().name(subject.to_string());
                    let outcome = thread.spawn(move || task(subject)).expect("a thread can be started").join();
                    done.lock().expect("nobody panics with it").push((subject, outcome.ok()));
                }
            });
        }
    });
    done.into_inner().expect("nobody panicked with it")
}

fn next<T>(subjects: &Mutex<VecDeque<T>>) -> Option<T> {
    subjects.lock().expect("nobody panics with it").pop_front()
}
