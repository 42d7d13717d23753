use super::exposition::{FAMILIES, Family, Kind};
use super::*;
use crate::pauses::Pauses;
use crate::testing::Harness;

fn asked(harness: &mut Harness<Metrics>, request: &str) -> String {
    let client = harness.connect();
    harness.send(client, request.as_bytes());
    String::from_utf8(harness.received(client)).unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn a_scrape_has_every_family_with_its_help_and_its_type() {
    let mut harness = Harness::new(Metrics::default());
    let answer = asked(&mut harness, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.contains(&format!("\r\nContent-Length: {}\r\n", body(&answer).len())), "{answer}");
    for Family { name, kind, help, .. } in FAMILIES {
        let head = format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
        assert!(body(&answer).contains(&head), "{name}");
    }
    assert!(body(&answer).contains("\nreactord_peers{service=\"metrics\"} 1\n"), "{answer}");
    assert!(body(&answer).contains("\nreactord_received_bytes_total{service=\"metrics\"} 34\n"), "{answer}");
    assert!(body(&answer).contains("\nreactord_takeover_pause_seconds_bucket{le=\"0.000010\"} 0\n"), "{answer}");
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let mut harness = Harness::new(Metrics::default());
    let answer = asked(
        &mut harness,
        "GET /healthz HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\nHEAD /metrics HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n",
    );
    let codes: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "200", "200", "404"]);
    assert!(answer.contains("\r\n\r\nready\n") && answer.contains("\r\n\r\nOK\n"), "{answer}");
    assert!(!answer.contains("# HELP"), "HEAD has no body: {answer}");
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_code() {
    for (request, code, closes) in [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405", true),
        ("DELETE /healthz HTTP/1.1\r\n\r\n", "405", false),
        ("GET / HTTP/1.1\r\n\r\n", "404", false),
        ("GET /healthz HTTP/1.1\r\nConnection: foo, Close\r\n\r\n", "200", true),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200", true),
        ("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200", false),
        ("nonsense\r\n\r\n", "400", true),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7f\x03\x03", "400", true),
        (&format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), "431", true),
        (&format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(request::BYTES_MAX)), "431", true),
    ] {
        let mut harness = Harness::new(Metrics::default());
        let client = harness.connect();
        harness.send(client, request.as_bytes());
        let answer = String::from_utf8(harness.received(client)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request:.40}: {answer}");
        assert_eq!(answer.contains("Connection: close"), closes, "{request:.40}: {answer}");
        assert!(code != "405" || answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
        harness.end(client);
        assert!(harness.has_ended(client));
    }
}

#[test]
fn a_request_in_pieces_and_a_client_that_has_half_closed_are_answered() {
    let mut harness = Harness::new(Metrics::default());
    let client = harness.connect();
    for piece in ["GET /rea", "dyz HTTP/1.1\r\nHo", "st: x\r\n\r"] {
        harness.send(client, piece.as_bytes());
        assert!(harness.received(client).is_empty());
    }
    harness.send(client, b"\n");
    harness.end(client);
    assert!(harness.received(client).ends_with(b"ready\n"));
    assert!(harness.has_ended(client));
}

#[test]
fn a_request_that_does_not_come_whole_and_a_connection_that_is_silent_are_given_up() {
    let mut harness = Harness::new(Metrics::default());
    let [stammering, silent] = [harness.connect(), harness.connect()];
    harness.send(silent, b"GET /metrics HTTP/1.1\r\n\r\n");
    assert!(!harness.received(silent).is_empty());
    harness.send(stammering, b"GET /met");
    harness.pass(REQUEST_PATIENCE / 2);
    harness.send(stammering, b"ri");
    harness.pass(REQUEST_PATIENCE / 2);
    assert!(harness.has_ended(stammering) && !harness.has_ended(silent));
    harness.pass(IDLE_PATIENCE);
    assert!(harness.has_ended(silent));
}

#[test]
fn further_connections_are_closed_and_there_is_room_again_when_one_has_left() {
    let mut harness = Harness::new(Metrics::default());
    let clients: Vec<_> = (0..CONNECTIONS_MAX).map(|_| harness.connect()).collect();
    let too_many = harness.connect();
    harness.end(too_many);
    assert!(harness.has_ended(too_many));
    harness.vanish(clients[0]);
    assert!(asked(&mut harness, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_half_received_request_is_answered_by_the_successor() {
    let mut harness = Harness::new(Metrics::default());
    let client = harness.connect();
    harness.send(client, b"GET /metrics HT");
    harness.take_over(Metrics::default());
    harness.send(client, b"TP/1.1\r\n\r\n");
    assert!(harness.received(client).starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn a_request_that_was_not_answered_when_it_was_handed_over_is_asked_again() {
    let metrics = Metrics::default();
    for byte in 0..8 {
        let conversation = metrics.restore_session(1, &[byte]).unwrap();
        let mut saved = Vec::new();
        metrics.save_session(&conversation, &mut saved);
        assert_eq!(saved, [byte]);
    }
    assert!(metrics.restore_session(1, &[8]).is_err() && metrics.restore_session(1, &[0, 0]).is_err());
    assert_eq!(metrics.restore_session(1, &[]).unwrap(), Conversation::default());
}

#[test]
fn names_and_labels_are_what_the_format_allows() {
    for Family { name, kind, labels, help, .. } in FAMILIES {
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(name.starts_with("reactord_") && is_name(name) && labels.iter().all(|label| is_name(label)), "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(!help.contains(['\n', '\\']) && help.ends_with('.'), "{name}");
    }
    let status = Status { build: "a\"b\\c\nd 1".to_owned(), ..Status::default() };
    assert!(exposition::of(&status).contains(r#"reactord_build_info{program="a\"b\\c\nd",version="1"} 1"#));
    let pauses = Pauses { counts: vec![1, 2, 0, 4], sum_us: 1_500_000 };
    let status = Status { pauses, ..Status::default() };
    let exposition = exposition::of(&status);
    for line in [
        "_bucket{le=\"0.000010\"} 1",
        "_bucket{le=\"0.000020\"} 3",
        "_bucket{le=\"0.000100\"} 7",
        "_bucket{le=\"1.000000\"} 7",
        "_bucket{le=\"+Inf\"} 7",
        "_sum 1.500000",
        "_count 7",
    ] {
        assert!(exposition.contains(&format!("\nreactord_takeover_pause_seconds{line}\n")), "{line}: {exposition}");
    }
}

/// The names of figures in a text.
fn named_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !(character.is_ascii_lowercase() || character == '_'));
    let parts = ["_bucket", "_sum", "_count"];
    words.filter(|word| word.starts_with("reactord_")).map(move |word| {
        let whole = parts.iter().find_map(|part| word.strip_suffix(part));
        whole.unwrap_or(word)
    })
}

#[test]
fn the_page_for_operators_lists_each_family_as_it_is() {
    let page = include_str!("../../../docs/operating.md");
    for Family { name, kind, labels, help, .. } in FAMILIES {
        let labels = labels.join(", ");
        let row = format!("| `{name}` | {} | {labels} | {help} |\n", kind.name());
        assert!(page.contains(&row), "this row is missing: {row}");
    }
    let unknown = named_in(page).find(|name| FAMILIES.iter().all(|family| family.name != *name));
    assert_eq!(unknown, None);
}

#[test]
fn the_dashboard_shows_figures_that_there_are() {
    let dashboard = include_str!("../../../deploy/grafana/reactord.json");
    assert!(named_in(dashboard).count() > 10 && dashboard.contains("\"annotations\""));
    let unknown = named_in(dashboard).find(|name| FAMILIES.iter().all(|family| family.name != *name));
    assert_eq!(unknown, None);
}
