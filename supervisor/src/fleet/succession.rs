//! Whether another generation is to take the place of the one that serves, and what came of it.

use super::record::{ReloadRecord, SuccessionRecord};

/// Whether another generation is to take the place of the one that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Succession {
    under_way: Option<UnderWay>,
    /// How many have come to their end, whichever that was.
    ended: u64,
    last: Option<Reload>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UnderWay {
    /// One more is to follow at once.
    again: bool,
    /// Why workers of it have failed, in takeovers, of which the others go on.
    failures: Vec<String>,
}

/// What came of a request for a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reload {
    /// The how manyth it was, from 1 on.
    pub(crate) number: u64,
    /// Which generation was asked for.
    pub(crate) generation: u64,
    /// How many workers of it serve.
    pub(crate) workers: usize,
    /// Why not all of what serves is of it, if it is not.
    pub(crate) why_not: Option<String>,
}

impl Succession {
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// One begins. What is to follow it, if it begins again, still is: somebody waits for that.
    pub(crate) fn begin(&mut self) {
        let again = self.under_way.take().is_some_and(|under_way| under_way.again);
        self.under_way = Some(UnderWay { again, ..UnderWay::default() });
    }

    /// One more is to follow the one that is under way.
    pub(crate) fn again(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.again = true;
        }
    }

    /// A worker of it has failed. If there is one that it was to replace, that serves on.
    pub(crate) fn fail(&mut self, reason: &str) {
        if let Some(under_way) = &mut self.under_way {
            under_way.failures.push(reason.to_owned());
        }
    }

    /// Why workers of it have failed, in words.
    pub(crate) fn failures(&self) -> String {
        self.under_way.as_ref().map(|under_way| under_way.failures.join("; ")).unwrap_or_default()
    }

    /// The number of the one whose end answers a request that is made now.
    pub(crate) fn answered_by(&self) -> u64 {
        self.ended + if self.under_way.as_ref().is_some_and(|under_way| under_way.again) { 2 } else { 1 }
    }

    /// What is under way is over. Returns what came of it, and whether one more is to follow.
    pub(crate) fn end(&mut self, generation: u64, workers: usize, why_not: Option<String>) -> (Reload, bool) {
        let again = self.under_way.take().is_some_and(|under_way| under_way.again);
        self.ended += 1;
        let reload = Reload { number: self.ended, generation, workers, why_not };
        self.last = Some(reload.clone());
        (reload, again)
    }

    /// What came of the last one.
    pub(crate) fn last(&self) -> Option<&Reload> {
        self.last.as_ref()
    }

    pub(crate) fn record(&self) -> SuccessionRecord {
        SuccessionRecord {
            under_way: self.under_way.as_ref().map(|under_way| (under_way.again, under_way.failures.clone())),
            ended: self.ended,
            last: self.last.as_ref().map(|last| ReloadRecord {
                generation: last.generation,
                workers: last.workers as u64,
                why_not: last.why_not.clone(),
            }),
        }
    }

    pub(crate) fn from_record(record: SuccessionRecord) -> Self {
        let SuccessionRecord { under_way, ended, last } = record;
        let last = last.map(|ReloadRecord { generation, workers, why_not }| Reload {
            number: ended,
            generation,
            workers: usize::try_from(workers).unwrap_or(0),
            why_not,
        });
        Self { under_way: under_way.map(|(again, failures)| UnderWay { again, failures }), ended, last }
    }
}
