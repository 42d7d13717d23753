//! What the environment has planned comes to pass.

use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use log::warn;
use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};
use reactord_process::channel::{Channel, ChannelError, Deadline};

use super::super::wire::{Commit, Figures, Frame};
use super::plan::{Fault, Planned, Point, SuccessorStep, VARIABLE};

/// How long the channel may be full of what was sent before.
const PATIENCE: Duration = Duration::from_secs(5);

/// A step that may say something on the channel, and may fail.
pub(crate) fn at(point: impl Into<Point>, channel: &mut Channel) -> Result<(), ChannelError> {
    let point = point.into();
    for fault in due(point) {
        match fault {
            Fault::Error => return Err(ChannelError::Io(io::Error::from(Errno::EIO))),
            Fault::Truncate => {
                let frame = frame_out_of_turn(point);
                channel.send_by(&frame[..frame.len() - 1], &[], Deadline::after(PATIENCE))?;
                channel.shutdown();
            }
            Fault::Garbage => {
                channel.send_by(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[], Deadline::after(PATIENCE))?;
                channel.shutdown();
            }
            Fault::WrongStep => channel.send_by(&frame_out_of_turn(point), &[], Deadline::after(PATIENCE))?,
            Fault::Close => channel.shutdown(),
            Fault::Kill | Fault::Stop | Fault::Delay(_) | Fault::Panic => suffer(fault),
        }
    }
    Ok(())
}

/// A step that says nothing and cannot fail, save with its process.
pub(crate) fn here(point: impl Into<Point>) {
    due(point.into()).into_iter().for_each(suffer);
}

/// The faults that are due at this pass of a point.
fn due(point: Point) -> Vec<Fault> {
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

fn suffer(fault: Fault) {
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

/// A frame that its sender may send, but never now. A successor that has Commit must not say Accept twice: the second
/// one would be its own.
fn frame_out_of_turn(point: Point) -> Vec<u8> {
    match point {
        Point::Predecessor(_) | Point::Upgrade(_) | Point::Standby(_) => {
            let figures = Figures::default();
            let nothing = Commit {
                peers: 0,
                digest: 0,
                state_bytes: 0,
                frozen_at_ns: 0,
                figures,
                entries: None,
                timers: 0,
                account: None,
            };
            Frame::Commit(nothing).encode()
        }
        Point::Successor(SuccessorStep::Accept | SuccessorStep::Serving) => Frame::Ready.encode(),
        Point::Successor(_) => Frame::Accept.encode(),
    }
}
