//! Somebody asks a service something on the takeover path.

use reactord_process::frame::{Refuse, printable};

use crate::lanes::Lanes;
use crate::takeover::wire::{Answer, Ask, Frame};

/// What the service answers.
pub(super) fn ask_service(lanes: &mut impl Lanes, Ask { service, question }: &Ask) -> Frame<'static> {
    let number = lanes.all().position(|lane| lane.name() == service);
    let answer = match number {
        Some(number) => lanes.lane_mut(number).asked(question),
        None => Err(format!("there is no service {} here", printable(service))),
    };
    answer.map_or_else(|reason| Frame::Refuse(Refuse::because(&reason)), |answer| Frame::Answer(Answer { answer }))
}
