use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::takeover::wire::Kind;

type Property = fn(&[u8]);

/// The properties, by the name of their fuzz target.
const TARGETS: [(&str, Property); 4] = [
    ("frames", decode_frames),
    ("predecessor", predecessor_hears),
    ("successor", successor_hears),
    ("takeover", take_over_anywhere),
];

fn files(directory: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    // The order of a directory is no property of it, and a failing case should be found again.
    paths.sort();
    assert!(!paths.is_empty(), "{}", directory.display());
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    files(&format!("fuzz/corpus/{target}"))
}

#[test]
fn every_input_that_the_fuzzer_found_worth_keeping_has_the_property() {
    for (target, property) in TARGETS {
        corpus(target).iter().for_each(|input| property(input));
    }
}

/// Bytes with some of them changed.
fn changed(mut input: Vec<u8>, changes: &[(Index, u8)]) -> Vec<u8> {
    if !input.is_empty() {
        for (at, byte) in changes {
            let at = at.index(input.len());
            input[at] = *byte;
        }
    }
    input
}

/// An input of the corpus that is cut somewhere, with the rest of another one behind it, and with some bytes changed.
fn altered(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let corpus = corpus(target);
    let cut = any::<(Index, Index, Index, Index)>();
    (cut, vec(any::<(Index, u8)>(), 0..6)).prop_map(move |((first, first_end, second, second_start), changes)| {
        let (first, second) = (first.get(&corpus), second.get(&corpus));
        let end = &first[..first_end.index(first.len() + 1)];
        let start = &second[second_start.index(second.len() + 1)..];
        changed([end, start].concat(), &changes)
    })
}

/// The frames that an input consists of.
fn split(input: &[u8]) -> Vec<Vec<u8>> {
    take_all([mended(input).as_slice()].into_iter(), TO_SUCCESSOR_BYTES_MAX).0.iter().map(encoded).collect()
}

fn kind(frame: &[u8]) -> Kind {
    frame[4].try_into().unwrap()
}

fn encoded(raw: &RawFrame) -> Vec<u8> {
    raw.decode().map_or_else(|_| Frame::Ready.encode(), |frame: Frame<'_>| frame.encode())
}

/// What one side says in a recorded conversation, with frames that are lost, repeated or out of turn, and with some
/// bytes changed.
fn rearranged(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let all: Vec<Vec<Vec<u8>>> = corpus(target).iter().map(|input| split(input)).collect();
    // One that does not come to its end has nothing that could be missed there.
    let ends =
        |frames: &Vec<Vec<u8>>| frames.last().is_some_and(|frame| [Kind::Commit, Kind::Serving].contains(&kind(frame)));
    let conversations: Vec<Vec<Vec<u8>>> = all.iter().filter(|frames| ends(frames)).cloned().collect();
    let all = all.concat();
    let step = (0..3u8, any::<Index>(), any::<Index>());
    (any::<Index>(), vec(step, 0..4), vec(any::<(Index, u8)>(), 0..3)).prop_map(move |(chosen, steps, changes)| {
        let mut frames = chosen.get(&conversations).clone();
        for (step, at, other) in steps {
            let at = at.index(frames.len());
            match step {
                0 if frames.len() > 1 => drop(frames.remove(at)),
                1 => frames.insert(at, frames[at].clone()),
                _ => frames.insert(at, other.get(&all).clone()),
            }
        }
        changed(frames.concat(), &changes)
    })
}

/// A frame of this kind with any body.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    (0..20u8, vec(any::<u8>(), 0..100)).prop_map(|(kind, body)| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, 0, 0, 0, 0], &body].concat()
    })
}

fn bytes(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=length_max)
}

proptest! {
    #[test]
    fn any_bytes_are_the_same_frames_however_they_are_cut(
        input in prop_oneof![altered("frames"), any_body(), bytes(300)],
    ) {
        decode_frames(&input);
    }

    #[test]
    fn whatever_a_successor_says_the_predecessor_sends_what_can_be_accepted(
        input in prop_oneof![rearranged("predecessor"), altered("predecessor"), any_body()],
    ) {
        predecessor_hears(&input);
    }

    #[test]
    fn whatever_a_predecessor_says_the_successor_accepts_only_what_is_committed(
        input in prop_oneof![rearranged("successor"), altered("successor"), any_body()],
    ) {
        successor_hears(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), ..ProptestConfig::default() })]

    /// A hundred thousand of them, in less than a minute:
    /// `PROPTEST_CASES=100000 cargo test --release --lib whatever_clients_send_and_whenever`.
    #[test]
    fn whatever_clients_send_and_whenever_they_are_taken_over_they_receive_the_same(
        script in prop_oneof![9 => bytes(300), 1 => altered("takeover")],
    ) {
        take_over_anywhere(&script);
    }

    #[test]
    fn whoever_is_echoed_by_way_of_a_connection_of_the_service_receives_the_same(script in bytes(300)) {
        take_over_anywhere(&[&[3], &script[..]].concat());
    }

    #[test]
    fn whoever_is_answered_in_time_is_so_whenever_a_successor_takes_over(script in bytes(300)) {
        take_over_anywhere(&[&[4], &script[..]].concat());
    }
}

proptest! {
    /// Clients that speak TLS change their keys, cut records in pieces and break the protocol. Debug assertions look for numbers
    /// that are sealed twice:
    /// `CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true PROPTEST_CASES=100000 cargo test --release --lib whatever_is_said_by_tls`.
    #[test]
    fn whatever_is_said_by_tls_is_heard_once_and_nothing_else_is(first in any::<u8>(), script in bytes(300)) {
        let speaking = (first / 5) | 1;
        take_over_anywhere(&[&[(speaking * 5).saturating_add(first % 5)], &script[..]].concat());
    }
}

// ── Seeds ──────────────────────────────────────────────────────────────────────────────────────────────────────────

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// The golden files with this extension, each with its name and what is in it.
fn golden(directory: &str, extension: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(directory);
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let golden = paths.filter(|path| path.extension().is_some_and(|is| is == extension));
    let named = |path: std::path::PathBuf| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap())
    };
    golden.map(named).collect()
}

/// What one side says in a recorded conversation.
fn said(conversation: &str, mark: &str) -> Vec<u8> {
    let lines = conversation.lines().filter_map(|line| line.strip_prefix(mark));
    lines.flat_map(|line| bytes_of_hex(line.split(' ').nth(1).unwrap())).collect()
}

#[track_caller]
fn assert_is_seed(target: &str, name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target).join(name);
    let seed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(seed == bytes, "{} is no longer what is said", path.display());
}

#[test]
fn golden_frames_and_conversations_are_inputs_that_the_fuzzer_begins_with() {
    for (name, hex) in golden("wire-1", "hex") {
        assert_is_seed("frames", &name, &bytes_of_hex(&hex));
    }
    for (name, conversation) in golden("wire-1/conversations", "txt") {
        assert_is_seed("predecessor", &name, &said(&conversation, "> "));
        assert_is_seed("successor", &name, &said(&conversation, "< "));
    }
}
