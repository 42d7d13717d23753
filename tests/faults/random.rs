//! Schedules: a chain of takeovers in which both sides are killed, stopped and delayed at moments that a seed decides,
//! while clients of every kind talk, come and go.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::cell::check_owner;
use crate::crowd::Crowd;
use crate::expectation::Owner;
use crate::harness::{Place, Server, daemon};
use crate::nursed::{FAULTS_MAX, Nursed, disturb};
use crate::plan::{Fault, Planned, Point, PredecessorStep, SuccessorStep};
use crate::secured;

/// How many successors are disturbed in one schedule.
const SUCCESSORS: usize = 4;

/// How many undisturbed ones may fail after them: as many as the last predecessor has faults left.
const UNDISTURBED_MAX: usize = 1 + FAULTS_MAX;

/// In one schedule out of so many there are clients that fill all buffers, which takes most of the time.
const FULL_EVERY: u64 = 8;

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) takeovers: u64,
    /// How many left the peers with their predecessor.
    pub(crate) failed: u64,
    /// How often the owner was killed.
    pub(crate) killed: u64,
    /// How many faults came about.
    pub(crate) faults: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.takeovers += other.takeovers;
        self.failed += other.failed;
        self.killed += other.killed;
        self.faults += other.faults;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { takeovers, failed, killed, faults } = self;
        write!(
            f,
            "{faults} faults, {takeovers} takeovers, {failed} left the peers with the predecessor, {killed} owners killed"
        )
    }
}

/// Runs the schedule of a seed.
///
/// # Panics
/// If a byte is lost or repeated, if not exactly one process owns the peers, if it has more open than it should, or if
/// something is left over.
pub(crate) fn run(seed: u64) -> Tally {
    let mut random = Rng::with_seed(seed);
    let place = Place::new();
    let mut tally = Tally::default();
    let full = seed.is_multiple_of(FULL_EVERY);
    let Begun { mut owner, mut crowd, mut files_without_peers } = begin(&place, &mut random, true, full);
    for number in 0.. {
        let disturbed = number < SUCCESSORS;
        assert!(number < SUCCESSORS + UNDISTURBED_MAX, "nobody takes over\n{}", owner.server.log());
        let plan = if disturbed { plan(&mut random) } else { Vec::new() };
        let successor = take_over(&place, &plan, &mut random);
        if disturbed {
            disturb(&owner.server, &successor.server, &mut random);
        }
        let outcome = settle(&owner.server, &successor.server, &mut crowd);
        tally.faults += successor.faults();
        match outcome {
            Owner::Predecessor => tally.failed += 1,
            Owner::Successor => {
                tally.takeovers += 1;
                tally.faults += owner.faults();
                owner = successor;
                if !disturbed {
                    break;
                }
            }
            Owner::Nobody => {
                tally.killed += 1;
                tally.faults += owner.faults();
                crowd.expect_loss();
                Begun { owner, crowd, files_without_peers } = begin(&place, &mut random, disturbed, full);
            }
        }
    }
    let mut crew = match crowd.finish() {
        Ok(crew) => crew,
        Err(lost) => panic!("{}\n{}", lost.0, owner.server.log()),
    };
    check_owner(&place, &owner.server, &mut crew, files_without_peers);
    owner.server.stop_serving(crew.into_peers());
    assert_eq!(std::fs::read_dir(place.directory()).expect("the test's own").count(), 0, "nothing is left over");
    tally
}

/// A server with a crowd.
struct Begun {
    owner: Nursed,
    crowd: Crowd,
    files_without_peers: usize,
}

fn begin(place: &Place, random: &mut Rng, disturbed: bool, full: bool) -> Begun {
    let plan = if disturbed { plan(random) } else { Vec::new() };
    let owner = serve(place, &plan, random);
    let files_without_peers = owner.server.open_files();
    let crowd = if full { Crowd::gather(&owner.server) } else { Crowd::gather_light(&owner.server) };
    Begun { owner, crowd, files_without_peers }
}

/// What a process has planned, as a successor and then as a predecessor.
fn plan(random: &mut Rng) -> Vec<Planned> {
    let mut planned = Vec::new();
    for side in [false, true] {
        for _ in 0..random.usize(0..=FAULTS_MAX) {
            let point = if side {
                Point::from(PredecessorStep::ALL[random.usize(0..PredecessorStep::ALL.len())])
            } else {
                SuccessorStep::ALL[random.usize(0..SuccessorStep::ALL.len())].into()
            };
            let fault = match random.u32(0..100) {
                0..15 => Fault::Kill,
                15..45 => Fault::Stop,
                _ => Fault::Delay(Duration::from_millis(random.u64(1..100))),
            };
            planned.push(Planned { point, pass: random.u32(1..=2), fault });
        }
    }
    planned
}

/// Waits until a takeover has come out, one way or the other, and says who owns the peers.
fn settle(predecessor: &Server, successor: &Server, crowd: &mut Crowd) -> Owner {
    let logs = || format!("{}\n{}", predecessor.log(), successor.log());
    let took_over = successor.says_before_its_end(|line| line.contains("Took over "));
    match crowd.probe() {
        Ok(()) if took_over => {
            let end = predecessor.ended();
            assert!(matches!(end, Ok(0) | Err(Signal::SIGKILL)), "{end:?}\n{}", logs());
            assert!(successor.is_running(), "somebody serves\n{}", logs());
            Owner::Successor
        }
        Ok(()) => {
            let end = successor.ended();
            assert!(matches!(end, Ok(3) | Err(Signal::SIGKILL)), "{end:?}\n{}", logs());
            Owner::Predecessor
        }
        Err(lost) => {
            // Only the death of the owner explains that.
            let ends = (predecessor.ended(), successor.ended());
            let explained =
                matches!(ends, (Err(Signal::SIGKILL), Ok(3) | Err(Signal::SIGKILL)) | (Ok(0), Err(Signal::SIGKILL)));
            assert!(explained, "{}, {ends:?}\n{}", lost.0, logs());
            Owner::Nobody
        }
    }
}

fn serve(place: &Place, plan: &[Planned], random: &mut Rng) -> Nursed {
    let mut command = daemon();
    command
        .args(["-a", "127.0.0.1", "-p", "0", "--service", "counted", "-t"])
        .arg(place.path())
        .args(secured::options());
    let nursed = Nursed::spawn(&place.path(), &mut command, plan, random);
    nursed.server.wait_for_line(|line| line.contains("Starting Takeover channel on ["));
    nursed
}

fn take_over(place: &Place, plan: &[Planned], random: &mut Rng) -> Nursed {
    let mut command = daemon();
    command.arg("-T").arg(place.path()).args(secured::options());
    Nursed::spawn(&place.path(), &mut command, plan, random)
}
