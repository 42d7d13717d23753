//! What the environment has planned comes to pass, on a channel.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use reactord_process::channel::{Channel, ChannelError, Deadline};

use super::super::wire::{Commit, Figures, Frame};
use crate::fault::{Fault, Point, SuccessorStep, due, is_sheltered, suffer};

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

/// The same of a step that counts only while a standby is armed.
pub(crate) fn at_while_sheltered(point: impl Into<Point>, channel: &mut Channel) -> Result<(), ChannelError> {
    if is_sheltered() { at(point, channel) } else { Ok(()) }
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
