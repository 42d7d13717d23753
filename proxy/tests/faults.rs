//! Successors that fail at every step of a takeover, while pairs of every kind are served: whoever owns them in the end has lost
//! no byte, and where nobody is left, both ends of each know it.
//!
//! ```text
//! cargo test -p reactord-proxy --features fault-points --test faults                 each is killed
//! cargo test -p reactord-proxy --features fault-points --test faults -- --ignored    each is stopped, or fails, too
//! ```
//!
//! Which steps there are, and what an environment says about them, is the library's: its own matrix is `tests/faults/` there.

#[path = "faults/beside.rs"]
mod beside;
#[path = "faults/crowd.rs"]
mod crowd;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "proxy/full.rs"]
mod full;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
#[path = "../../src/fault/plan.rs"]
mod plan;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "proxy/rig.rs"]
mod rig;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "proxy/tls_rig.rs"]
mod tls_rig;

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Instant;

use beside::Beside;
use crowd::Crowd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plan::{Fault, Point, SuccessorStep, VARIABLE};
use rig::PATIENCE;

/// Who owns the connections in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Predecessor,
    Successor,
    Nobody,
}

impl Owner {
    /// As `docs/faults.md` has it, where the predecessor is not hurried.
    fn after(step: SuccessorStep, fault: Fault) -> Self {
        use SuccessorStep::{Poll, Served, Serving};
        match (step, fault) {
            (Poll | Serving | Served, Fault::Kill) => Self::Nobody,
            (Poll | Serving | Served, _) => Self::Successor,
            _ => Self::Predecessor,
        }
    }
}

/// Steps that say nothing on the channel cannot fail, save with their process.
fn can(step: SuccessorStep, fault: Fault) -> bool {
    let says_nothing = matches!(step, SuccessorStep::Poll | SuccessorStep::Served);
    !says_nothing || matches!(fault, Fault::Kill | Fault::Stop)
}

#[test]
fn successor_killed_at_any_step_leaves_every_pair_whole_or_none() {
    at_every_step(Fault::Kill);
}

#[test]
#[ignore = "it waits for deadlines: some minutes"]
fn successor_stopped_at_any_step_leaves_every_pair_whole() {
    at_every_step(Fault::Stop);
}

#[test]
#[ignore = "what a killed successor shows is run in its stead"]
fn successor_that_fails_at_any_step_leaves_every_pair_whole() {
    at_every_step(Fault::Error);
    at_every_step(Fault::Garbage);
}

fn at_every_step(fault: Fault) {
    let mut scene = Scene { crowd: Crowd::gather(), owner: None };
    for step in SuccessorStep::ALL.iter().copied().filter(|step| can(*step, fault)) {
        eprintln!("{}: {fault}", Point::from(step));
        scene.play(step, fault);
    }
    scene.crowd.finish();
}

/// Pairs, and who serves them.
struct Scene {
    crowd: Crowd,
    /// Unless it is the first process of all.
    owner: Option<Beside>,
}

impl Scene {
    /// Has a successor fail, and then another one take over.
    fn play(&mut self, step: SuccessorStep, fault: Fault) {
        let mut failing = self.begin(step, fault);
        let owner = Owner::after(step, fault);
        if fault == Fault::Stop {
            if owner == Owner::Predecessor {
                self.owner_gives_up(&failing);
            }
            signal(&failing.child, Signal::SIGCONT);
        }
        match owner {
            Owner::Predecessor => end(&mut failing.child, fault),
            Owner::Successor => self.owner = Some(failing),
            Owner::Nobody => {
                end(&mut failing.child, fault);
                std::mem::replace(&mut self.crowd, Crowd::gather()).expect_loss();
                self.owner = None;
            }
        }
        self.crowd.check();
        let next = Beside::start(self.crowd.proxy(), VARIABLE, "");
        next.says_one_of(&["Took over "]);
        self.owner = Some(next);
        self.crowd.check();
    }

    /// Has a successor fail at a step. Before that, when it has copied everything once, some leave, some come, and some say all
    /// that they will say.
    fn begin(&mut self, step: SuccessorStep, fault: Fault) -> Beside {
        let (round, point) = (Point::from(SuccessorStep::Round), Point::from(step));
        // Whoever goes on after a fault is not to be stopped on the way to its end.
        let before = if comes_in_first_round(step) { String::new() } else { format!("{round}:stop,") };
        let successor = Beside::start(self.crowd.proxy(), VARIABLE, &format!("{before}{point}:{fault}"));
        let stopped = format!("Fault point {round}: {}", Fault::Stop);
        let failed = format!("Fault point {point}: {fault}");
        if successor.says_one_of(&[&stopped, &failed]).contains(&stopped) {
            wait_until_stopped(&successor.child);
            self.crowd.change();
            signal(&successor.child, Signal::SIGCONT);
            successor.says_one_of(&[&failed]);
        }
        if fault == Fault::Stop {
            wait_until_stopped(&successor.child);
        }
        successor
    }

    fn owner_gives_up(&self, successor: &Beside) {
        let said = format!("Takeover by pid {} ", successor.child.id());
        match &self.owner {
            Some(owner) => owner.says_one_of(&[&said]),
            None => self.crowd.proxy().says(&[&said]),
        };
    }
}

/// Steps that a successor does before it has copied everything once. Whatever changes then is changed behind that.
fn comes_in_first_round(step: SuccessorStep) -> bool {
    use SuccessorStep::{Adopt, Copied, Enter, Hello, Listeners, Welcome};
    matches!(step, Hello | Welcome | Listeners | Adopt | Copied | Enter)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("it is a pid"));
    kill(pid, signal).expect("it is a child");
}

fn wait_until_stopped(child: &Child) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it is there");
        if stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')) {
            return;
        }
        assert!(Instant::now() < deadline, "it does not stop: {stat}");
        std::thread::yield_now();
    }
}

/// Waits for the end of a successor that owns nobody.
fn end(child: &mut Child, fault: Fault) {
    let status = child.wait().expect("it is a child");
    match fault {
        Fault::Kill => assert_eq!(status.signal(), Some(9)),
        _ => assert_eq!(status.code(), Some(3), "{status:?}"),
    }
}
