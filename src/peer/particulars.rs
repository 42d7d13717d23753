//! What few peers have, so that the others have no room for it; and what still fewer have, so that those who are joined, of
//! whom there may be many, are small as well.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::closed::Closed;
use super::parting::Parting;
use super::ties::{Dial, Joined, Ties};
use super::violation::Violation;

/// What one of those has.
#[derive(Debug, Default)]
pub(crate) struct Particulars {
    pub(crate) joined: Option<Joined>,
    /// When it is looked at, whether or not anything has happened by then: `CLOCK_MONOTONIC`.
    pub(crate) alarm_ns: Option<NonZeroU64>,
    rarities: Option<Box<Rarities>>,
}

const _: () =
    assert!(size_of::<Particulars>() == 40, "an allocator gives that without waste, and an idle pair costs little");

/// What still fewer have.
#[derive(Debug)]
pub(crate) struct Rarities {
    /// Since the server began to end it.
    pub(crate) parting: Option<Parting>,
    /// What the service is told at its end, if that is known before.
    pub(crate) how: Option<Closed>,
    /// The cookie of whoever gets what it sends: it is not read from while more is pending there than should be.
    pub(crate) writer: Option<u64>,
    pub(crate) dialling: Option<Dialling>,
    /// It ends with this process.
    pub(crate) ephemeral: bool,
}

/// A connection that is being opened.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// It is given up then: `CLOCK_MONOTONIC`.
    pub(crate) until_ns: u64,
    /// Where it leads, if that is a Unix socket.
    pub(crate) path: Option<PathBuf>,
}

/// Of those who have none of it.
static NO_RARITIES: Rarities = Rarities::none();

impl Rarities {
    const fn none() -> Self {
        Self { parting: None, how: None, writer: None, dialling: None, ephemeral: false }
    }

    fn are_none(&self) -> bool {
        let Self { parting, how, writer, dialling, ephemeral } = self;
        parting.is_none() && how.is_none() && writer.is_none() && dialling.is_none() && !ephemeral
    }
}

impl Particulars {
    /// What another process has told of a peer, if that is anything.
    pub(super) fn told(parting: Option<Parting>, ties: &Ties<'_>) -> Option<Self> {
        let Ties { writer, joined, dial, violation, .. } = *ties;
        let how = violation.map(|violation| Closed::Violation(Violation::new(violation)));
        let dialling = dial.map(|Dial { until_ns, path }| {
            let path = path.map(|path| PathBuf::from(OsStr::from_bytes(path)));
            Dialling { until_ns, path }
        });
        let rarities = Rarities { parting, how, writer, dialling, ephemeral: false };
        let told = Self { joined, alarm_ns: None, rarities: (!rarities.are_none()).then(|| Box::new(rarities)) };
        (!told.is_empty()).then_some(told)
    }

    /// Whether it is as if there were none.
    pub(super) fn is_empty(&self) -> bool {
        self.joined.is_none() && self.rarities().are_none()
    }

    /// What still fewer have.
    pub(crate) fn rarities(&self) -> &Rarities {
        self.rarities.as_deref().unwrap_or(&NO_RARITIES)
    }

    /// The same, to be changed.
    pub(crate) fn rarities_mut(&mut self) -> &mut Rarities {
        self.rarities.get_or_insert_with(|| Box::new(Rarities::none()))
    }

    /// The same, if there are any.
    pub(crate) fn rarities_if_any(&mut self) -> Option<&mut Rarities> {
        self.rarities.as_deref_mut()
    }

    /// Takes up no room for what has become nothing.
    pub(crate) fn tidy(&mut self) {
        self.rarities.take_if(|rarities| rarities.are_none());
    }

    /// What another process is told, besides the parting, and besides what is in the talk.
    pub(super) fn ties(&self) -> Ties<'_> {
        let Rarities { how, writer, dialling, .. } = self.rarities();
        let dial = dialling.as_ref().map(|Dialling { until_ns, path }| {
            let path = path.as_deref().map(|path| path.as_os_str().as_bytes());
            Dial { until_ns: *until_ns, path }
        });
        let violation = match how {
            Some(Closed::Violation(violation)) => Some(violation.told()),
            _ => None,
        };
        Ties { writer: *writer, joined: self.joined.map(Joined::told), dial, violation, ..Ties::default() }
    }
}
