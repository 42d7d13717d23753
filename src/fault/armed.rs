//! What the environment has planned comes to pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use log::warn;
use nix::sys::signal::{Signal, raise};

use super::plan::{Fault, Planned, Point, VARIABLE};

/// Whether a standby is armed: a death before that is any server's.
static IS_SHELTERED: AtomicBool = AtomicBool::new(false);

/// A standby is armed from now on, or none is.
pub(crate) fn shelter(is_sheltered: bool) {
    IS_SHELTERED.store(is_sheltered, Ordering::Relaxed);
}

/// Whether one is.
pub(crate) fn is_sheltered() -> bool {
    IS_SHELTERED.load(Ordering::Relaxed)
}

/// A step that says nothing and cannot fail, save with its process.
pub(crate) fn here(point: impl Into<Point>) {
    due(point.into()).into_iter().for_each(suffer);
}

/// The same of a step that counts only while a standby is armed.
pub(crate) fn here_while_sheltered(point: impl Into<Point>) {
    if is_sheltered() {
        here(point);
    }
}

/// The faults that are due at this pass of a point.
pub(crate) fn due(point: Point) -> Vec<Fault> {
    static PLAN: OnceLock<Mutex<Vec<Planned>>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var(VARIABLE).unwrap_or_default();
        let planned = plan.split(',').filter(|planned| !planned.is_empty());
        Mutex::new(planned.map(|planned| planned.parse().expect("a test plans what there is")).collect())
    });
    let mut plan = plan.lock().expect("nobody panics with the plan");
    let mut faults = Vec::new();
    for planned in plan.iter_mut().filter(|planned| planned.point == point && planned.pass > 0) {
        planned.pass -= 1;
        if planned.pass == 0 {
            warn!("Fault point {point}: {}", planned.fault);
            faults.push(planned.fault);
        }
    }
    faults
}

/// What a process does that says nothing wrong.
///
/// # Panics
/// If that is the fault, and where it would have to say something.
pub(crate) fn suffer(fault: Fault) {
    let raised = match fault {
        Fault::Kill => raise(Signal::SIGKILL),
        Fault::Stop => raise(Signal::SIGSTOP),
        Fault::Panic => panic!("as a service may"),
        Fault::Delay(delay) => {
            std::thread::sleep(delay);
            Ok(())
        }
        _ => unreachable!("{fault} is for a step that talks"),
    };
    raised.expect("a process may signal itself");
}
