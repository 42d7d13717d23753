//! What may be asked of a supervisor on its path, and what it answers, as frames.

use minicbor::{Decode, Encode};
use reactord_process::frame::{self, FromFrame, WireError, decode_body};
use reactord_process::requests::{ASK_STATUS, SET_LOG, SetLog, UPGRADE, Upgrade};

use crate::status::FleetStatus;

/// The kinds of those frames that only a supervisor has.
const RELOAD: u8 = 35;
const RELOADED: u8 = 36;
const FLEET_STATUS: u8 = 37;

/// Somebody who calls: what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To know how the supervisor stands.
    Status,
    /// That a new generation takes the place of the current one, and to know what has come of it.
    Reload,
    /// That another binary takes its place, and to know what has come of it.
    Upgrade(Upgrade),
    /// That another level is logged.
    SetLog(SetLog),
}

/// The body of a frame whose kind says it all.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Empty {}

impl Request {
    pub(crate) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Status => frame::encode(ASK_STATUS, &Empty {}),
            Self::Reload => frame::encode(RELOAD, &Empty {}),
            Self::Upgrade(upgrade) => frame::encode(UPGRADE, upgrade),
            Self::SetLog(level) => frame::encode(SET_LOG, level),
        }
    }
}

impl<'b> FromFrame<'b> for Request {
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError> {
        match kind {
            ASK_STATUS => decode_body("AskStatus", body).map(|Empty {}| Self::Status),
            RELOAD => decode_body("Reload", body).map(|Empty {}| Self::Reload),
            UPGRADE => decode_body("Upgrade", body).map(Self::Upgrade),
            SET_LOG => decode_body("SetLog", body).map(Self::SetLog),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

/// What has come of a new generation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Reloaded {
    /// Which was asked for.
    #[n(0)]
    pub generation: u64,
    /// How many workers of it serve.
    #[n(1)]
    pub workers: u64,
    /// Why not all of what serves is of it, if it is not.
    #[n(2)]
    pub why_not: Option<String>,
    /// The supervisor's process id.
    #[n(3)]
    pub pid: u32,
    /// The generation that serves now.
    #[n(4)]
    pub current: u64,
}

impl Reloaded {
    pub(crate) fn frame(&self) -> Vec<u8> {
        frame::encode(RELOADED, self)
    }
}

impl<'b> FromFrame<'b> for Reloaded {
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError> {
        match kind {
            RELOADED => decode_body("Reloaded", body),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

impl FleetStatus {
    /// Whether a frame of this kind is one of these.
    #[must_use]
    pub fn is_kind(kind: u8) -> bool {
        kind == FLEET_STATUS
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        frame::encode(FLEET_STATUS, self)
    }
}

impl<'b> FromFrame<'b> for FleetStatus {
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError> {
        match kind {
            FLEET_STATUS => decode_body("FleetStatus", body),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use reactord_process::frame::RawFrame;

    use super::*;
    use crate::status::{
        Does, FailedReload, FailedUpgrade, Failures, QueueStatus, ReloadFailure, Summary, WorkerStatus,
    };

    fn raw(mut frame: Vec<u8>) -> RawFrame {
        RawFrame::take(&mut frame, u32::MAX).unwrap().expect("it is whole")
    }

    #[test]
    fn what_is_asked_and_answered_comes_out_as_it_went_in() {
        let upgrade = Request::Upgrade(Upgrade { timeout_ms: 7, ..Upgrade::default() });
        let level = Request::SetLog(SetLog { level: "debug".to_owned() });
        for request in [Request::Status, Request::Reload, upgrade, level] {
            assert_eq!(raw(request.frame()).decode(), Ok(request));
        }
        let why_not = Some("worker pid 7 exited with code 9".to_owned());
        let reloaded = Reloaded { generation: 3, workers: 1, why_not, pid: 5, current: 3 };
        assert_eq!(raw(reloaded.frame()).decode(), Ok(reloaded));
        let queue = Some(QueueStatus { waiting: 1, waiting_max: 2, is_full: false, returned: 0 });
        let failed = ReloadFailure { generation: 3, why: "no room".to_owned() };
        let failure = Some(failed.clone());
        let summary = Summary {
            generation: 2,
            coming: Some(3),
            is_stopping: false,
            serving: 4,
            unreplaced: 1,
            target: 4,
            leaving: 2,
            queue,
            failure,
        };
        let (does, connections, standby) = (Does::Serves, Some(3), Some(9));
        let worker = WorkerStatus { pid: 8, generation: 2, does, age_ms: 9, connections, standby };
        let failures = Failures {
            reload: Some(FailedReload { at_unix_ms: 1_700_000_000_001, failure: failed }),
            upgrade: Some(FailedUpgrade { at_unix_ms: 2, asker: "pid 9".to_owned(), why: "no room".to_owned() }),
        };
        let status = FleetStatus {
            build: "reactord 0.1.0".to_owned(),
            pid: 5,
            began_unix_ms: 1_700_000_000_000,
            listeners: vec!["[127.0.0.1]:1234".to_owned()],
            summary,
            workers: vec![worker],
            failures,
        };
        assert_eq!(raw(status.frame()).decode(), Ok(status));
    }

    #[test]
    fn what_is_for_a_server_is_refused_by_its_number() {
        assert_eq!(raw(frame::finish(frame::begin(1))).decode::<Request>(), Err(WireError::Kind(1)));
    }
}
