//! What comes when in a soak of several servers: moves, who is killed in which of them, and takeovers. The same seed
//! gives the same plan.

use std::time::Duration;

use fastrand::Rng;

/// A side of a move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Giver,
    Taker,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Giver => "giver",
            Self::Taker => "taker",
        }
    }
}

/// Who is killed in a move, and after which share of the time that a move takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kill {
    pub(crate) side: Side,
    pub(crate) after: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Move { kill: Option<Kill> },
    Takeover,
}

/// Something that is begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// When, from the beginning of the load.
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// All steps, and when the load ends at the earliest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: Duration,
}

impl Plan {
    /// Moves and takeovers in any order, an interval apart. Each is late by up to a quarter of that, so that they do not
    /// always meet the messages at the same point. Of the moves, `kill_share` are those in which a side is killed.
    pub(crate) fn new(moves: usize, takeovers: usize, interval: Duration, kill_share: f64, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let killed = (moves as f64 * kill_share).round() as usize;
        let mut whats: Vec<What> = (0..moves)
            .map(|number| What::Move { kill: (number < killed).then(|| Kill::at_random(&mut random)) })
            .chain(std::iter::repeat_n(What::Takeover, takeovers))
            .collect();
        random.shuffle(&mut whats);
        let at = |number: usize, late: f64| interval.mul_f64(number as f64 + 1.0 + late / 4.0);
        let end = interval.mul_f64(whats.len() as f64 + 1.0);
        let steps = whats.into_iter().enumerate();
        Self { steps: steps.map(|(number, what)| Step { at: at(number, random.f64()), what }).collect(), end }
    }
}

impl Kill {
    fn at_random(random: &mut Rng) -> Self {
        Self { side: if random.bool() { Side::Giver } else { Side::Taker }, after: random.f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn kills(plan: &Plan) -> Vec<Kill> {
        let kill = |step: &Step| match step.what {
            What::Move { kill } => kill,
            What::Takeover => None,
        };
        plan.steps.iter().filter_map(kill).collect()
    }

    #[test]
    fn as_many_as_wanted_are_an_interval_apart() {
        let plan = Plan::new(20, 5, INTERVAL, 0.3, 7);
        assert_eq!((plan.steps.len(), plan.end), (25, INTERVAL * 26));
        assert_eq!(plan.steps.iter().filter(|step| step.what == What::Takeover).count(), 5);
        assert_eq!(kills(&plan).len(), 6);
        for (number, step) in plan.steps.iter().enumerate() {
            let earliest = INTERVAL * (number as u32 + 1);
            assert!((earliest..earliest + INTERVAL / 4).contains(&step.at), "{step:?}");
        }
    }

    #[test]
    fn either_side_is_killed_at_any_time_of_a_move() {
        let kills = kills(&Plan::new(1000, 0, INTERVAL, 1.0, 7));
        let givers = kills.iter().filter(|kill| kill.side == Side::Giver).count();
        assert!((400..600).contains(&givers), "{givers}");
        assert!(kills.iter().all(|kill| (0.0..1.0).contains(&kill.after)));
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(Plan::new(10, 3, INTERVAL, 0.5, 1), Plan::new(10, 3, INTERVAL, 0.5, 1));
        assert_ne!(Plan::new(10, 3, INTERVAL, 0.5, 1), Plan::new(10, 3, INTERVAL, 0.5, 2));
    }
}
