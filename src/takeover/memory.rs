//! Memory in a takeover: whether there is enough of it, and who is killed if there is not.
//!
//! For a moment everything is there twice. Where a control group limits both processes, the kernel may have to kill one
//! of them, and it must not be the one that serves.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{self, Write};
use std::path::Path;

use log::{debug, warn};
use nix::libc;
use reactord_process::memory::Shortage;
use vm_memory::MmapRegion;

use super::admission::Refusal;
use super::panicked::caught;
use crate::lanes::Lanes;
use crate::peer::Peer;

/// More than any frame takes while it is written.
pub(crate) const FRAME_SPARE_BYTES: usize = 2 << 20;

/// What a peer takes in a successor besides what its buffers hold.
const PEER_BYTES: u64 = 256;

/// What somebody takes whose TLS handshake is under way: nearly all of that is rustls's.
const HANDSHAKE_BYTES: u64 = 10 * 1024;

/// Whether so many bytes could be had now, which is asked before much is sent or kept.
///
/// The kernel is asked, and not the allocator: where so much is freed to it, glibc has whatever is no larger from its heap from then on
/// (`M_MMAP_THRESHOLD`, mallopt(3)), and there each table leaves a hole when it grows, where it would be moved as it is otherwise.
///
/// # Errors
/// If they could not.
pub(crate) fn spare(bytes: usize) -> Result<(), Shortage> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // Nothing has no mapping.
    let mapped = MmapRegion::<()>::build(None, bytes.max(1), libc::PROT_READ | libc::PROT_WRITE, flags);
    mapped.map(drop).map_err(|_| Shortage { bytes })
}

/// Whether the successor may have as much memory as it needs for these peers and the entries that they share, and for so many
/// `handshakes` that are under way, where its control group limits that.
///
/// # Errors
/// If it may not: the kernel would have to kill a process, and this one holds no less.
pub(crate) fn check(pid: u32, lanes: &mut impl Lanes, handshakes: usize) -> Result<(), Refusal> {
    let Some(bytes_free) = room_bytes(pid) else {
        return Ok(());
    };
    // With room for everything that is here, there is no need to look at each peer.
    let frames = 2 * FRAME_SPARE_BYTES as u64;
    let everything = resident_bytes().map_or(u64::MAX, |resident| resident + frames);
    if everything <= bytes_free {
        return Ok(());
    }
    let bytes_needed = everything.min(bytes_of(lanes, handshakes) + frames);
    if bytes_needed > bytes_free { Err(Refusal::Memory { bytes_free, bytes_needed }) } else { Ok(()) }
}

fn bytes_of(lanes: &mut impl Lanes, handshakes: usize) -> u64 {
    // A buffer that is as large as what it holds doubles with the next byte.
    let buffers = |peer: &Peer| 2 * (peer.talk.inbound.len() + peer.talk.pending_bytes()) as u64;
    let peers: u64 = lanes.everybody().map(|peer| buffers(peer) + PEER_BYTES).sum();
    // A service that cannot tell will not be able to save either, and then the takeover fails for that.
    let entries = caught(|| lanes.entries_bytes()).unwrap_or(0) as u64;
    peers + entries + handshakes as u64 * HANDSHAKE_BYTES
}

/// Where a version of control groups shows what a group's processes may have and have (cgroups(7)).
struct Hierarchy {
    root: &'static str,
    max: &'static str,
    current: &'static str,
    /// The lines of `memory.stat` that speak of what the kernel takes back before it kills anybody.
    reclaimable: [&'static str; 2],
}

const V1: Hierarchy = Hierarchy {
    root: "/sys/fs/cgroup/memory",
    max: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

const V2: Hierarchy = Hierarchy {
    root: "/sys/fs/cgroup",
    max: "memory.max",
    current: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// How many more bytes a process may have, as far as its control group limits that. `None` if nothing does, or nobody
/// can tell: with swap space, there is more than the group's limit.
fn room_bytes(pid: u32) -> Option<u64> {
    let swaps = read_to_string("/proc/swaps").unwrap_or_default();
    let groups = read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if swaps.lines().count() > 1 {
        return None;
    }
    let room = |line: &str| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let hierarchy = match controllers {
            "" => V2,
            controllers if controllers.split(',').any(|controller| controller == "memory") => V1,
            _ => return None,
        };
        room_below(&hierarchy, Path::new(hierarchy.root), Path::new(group.trim_start_matches('/')))
    };
    groups.lines().filter_map(room).min()
}

/// The room in a group, which is within all groups above.
fn room_below(hierarchy: &Hierarchy, root: &Path, group: &Path) -> Option<u64> {
    group.ancestors().filter_map(|group| room_in(hierarchy, &root.join(group))).min()
}

fn room_in(hierarchy: &Hierarchy, group: &Path) -> Option<u64> {
    let number = |file| read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let (max, current) = (number(hierarchy.max)?, number(hierarchy.current)?);
    let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
    let reclaimable: u64 = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| hierarchy.reclaimable.contains(name))
        .filter_map(|(_, bytes)| bytes.parse::<u64>().ok())
        .sum();
    Some(max.saturating_sub(current.saturating_sub(reclaimable)))
}

/// How many bytes this process has in memory (proc(5), `statm`, whose pages have 4 KiB at least).
fn resident_bytes() -> Option<u64> {
    let statm = read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

/// As long as this lives, the kernel kills this process before any other when memory runs out.
#[derive(Debug)]
pub(crate) struct Expendable {
    score: File,
    /// What it was.
    before: String,
}

/// The file with what is added to a process's badness (proc(5)), and the most that can be.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_ADJ_MAX: &str = "1000";

impl Expendable {
    /// `None` if it cannot be, or is so already.
    pub(crate) fn until_dropped() -> Option<Self> {
        match Self::begin() {
            Ok(expendable) => expendable,
            Err(error) => {
                debug!("{OOM_SCORE_ADJ} stays as it is: {error}");
                None
            }
        }
    }

    fn begin() -> io::Result<Option<Self>> {
        let before = read_to_string(OOM_SCORE_ADJ)?.trim().to_owned();
        if before == OOM_SCORE_ADJ_MAX {
            return Ok(None);
        }
        // It stays open: what is written at the end is written while clients wait.
        let mut score = OpenOptions::new().write(true).open(OOM_SCORE_ADJ)?;
        score.write_all(OOM_SCORE_ADJ_MAX.as_bytes())?;
        Ok(Some(Self { score, before }))
    }
}

impl Drop for Expendable {
    fn drop(&mut self) {
        if let Err(error) = self.score.write_all(self.before.as_bytes()) {
            warn!("{OOM_SCORE_ADJ} stays at {OOM_SCORE_ADJ_MAX}, it was {}: {error}", self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused_with_its_number() {
        [0, 1, FRAME_SPARE_BYTES].into_iter().for_each(|bytes| spare(bytes).unwrap());
        assert_eq!(spare(usize::MAX / 4).unwrap_err().bytes, usize::MAX / 4);
    }

    #[test]
    fn handshakes_that_are_under_way_take_room() {
        assert_eq!(bytes_of(&mut (), 2048), 20 << 20);
    }

    #[test]
    fn a_group_has_the_least_room_of_all_that_it_is_in_and_files_in_memory_are_room() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(group)).unwrap();
            std::fs::write(root.path().join(group).join(file), text).unwrap();
        };
        for (group, max) in [("outer", "1000\n"), ("outer/inner", "5000\n"), ("outer/inner/free", "max\n")] {
            write(group, V2.max, max);
            write(group, V2.current, "900\n");
            write(group, "memory.stat", "anon 600\ninactive_file 200\nactive_file 50\n");
        }
        let room = |group: &str| room_below(&V2, root.path(), Path::new(group));
        assert_eq!(room_in(&V2, &root.path().join("outer/inner/free")), None);
        assert_eq!(room_in(&V2, &root.path().join("outer/inner")), Some(4350));
        assert_eq!(room("outer/inner/free"), Some(350));
        assert_eq!(room("elsewhere"), None);
    }
}
