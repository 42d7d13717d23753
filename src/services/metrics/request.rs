//! What is asked of the service `metrics`, and its answers, as bytes. Pure.

use std::fmt::Write;

use httparse::{EMPTY_HEADER, Error, Status};

use crate::service::RestoreError;

/// A request that is longer is refused.
pub(super) const BYTES_MAX: usize = 8 * 1024;

/// So is one with more headers.
const HEADERS_MAX: usize = 64;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A page that depends on how the server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Metrics,
    Ready,
}

/// A request for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) page: Page,
    /// The answer is to have no body.
    is_head: bool,
    /// The connection ends with the answer.
    pub(super) is_last: bool,
}

/// What has come of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The request is not whole.
    Partial,
    /// A request that took so many bytes.
    Asked { request: Request, bytes: usize },
    /// The same, and it is answered already.
    Answered { answer: Vec<u8>, bytes: usize, is_last: bool },
}

impl Request {
    const IS_READY: u8 = 1;
    const IS_HEAD: u8 = 2;
    const IS_LAST: u8 = 4;

    /// As it is saved.
    pub(super) fn to_byte(self) -> u8 {
        let flags =
            [(self.page == Page::Ready, Self::IS_READY), (self.is_head, Self::IS_HEAD), (self.is_last, Self::IS_LAST)];
        flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum()
    }

    pub(super) fn from_byte(byte: u8) -> Result<Self, RestoreError> {
        if byte > Self::IS_READY | Self::IS_HEAD | Self::IS_LAST {
            return Err(RestoreError::new(format!("a saved request is {byte}, at most 7 is expected")));
        }
        let page = if byte & Self::IS_READY == 0 { Page::Metrics } else { Page::Ready };
        Ok(Self { page, is_head: byte & Self::IS_HEAD != 0, is_last: byte & Self::IS_LAST != 0 })
    }

    pub(super) fn answer(self, code: u16, content_type: &str, body: &str) -> Vec<u8> {
        answer(code, content_type, body, self.is_head, self.is_last, "")
    }
}

/// The first request in `input`.
pub(super) fn parse(input: &[u8]) -> Outcome {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(input) {
        Ok(Status::Partial) if input.len() > BYTES_MAX => refused(431, input),
        Ok(Status::Partial) => Outcome::Partial,
        Ok(Status::Complete(bytes)) if bytes > BYTES_MAX => refused(431, input),
        Ok(Status::Complete(bytes)) => heard(&parsed, bytes),
        Err(Error::TooManyHeaders) => refused(431, input),
        Err(_) => refused(400, input),
    }
}

fn heard(parsed: &httparse::Request<'_, '_>, bytes: usize) -> Outcome {
    // What follows a body is not to be told from it, so nothing is read after one.
    let is_last = !stays_open(parsed) || has_body(parsed);
    let path = parsed.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let is_head = parsed.method == Some("HEAD");
    let told = |code, extra| {
        let text = format!("{}\n", reason(code));
        Outcome::Answered { answer: answer(code, TEXT, &text, is_head, is_last, extra), bytes, is_last }
    };
    let page = match path {
        "/metrics" => Some(Page::Metrics),
        "/readyz" => Some(Page::Ready),
        "/healthz" => None,
        _ => return told(404, ""),
    };
    match (is_head || parsed.method == Some("GET"), page) {
        (false, _) => told(405, "Allow: GET, HEAD\r\n"),
        (true, None) => told(200, ""),
        (true, Some(page)) => Outcome::Asked { request: Request { page, is_head, is_last }, bytes },
    }
}

/// Nothing else that comes on this connection is listened to.
fn refused(code: u16, input: &[u8]) -> Outcome {
    let text = format!("{}\n", reason(code));
    Outcome::Answered { answer: answer(code, TEXT, &text, false, true, ""), bytes: input.len(), is_last: true }
}

/// Whether another request may follow (RFC 9112, 9.3).
fn stays_open(parsed: &httparse::Request<'_, '_>) -> bool {
    let asks_for = |option: &str| {
        let mut options = values(parsed, "connection").flat_map(|value| value.split(|byte| *byte == b','));
        options.any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    if parsed.version == Some(1) { !asks_for("close") } else { asks_for("keep-alive") }
}

fn has_body(parsed: &httparse::Request<'_, '_>) -> bool {
    let has_length = values(parsed, "content-length").any(|value| value.trim_ascii() != b"0");
    has_length || values(parsed, "transfer-encoding").next().is_some()
}

fn values<'h>(parsed: &'h httparse::Request<'_, '_>, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    }
}

fn answer(code: u16, content_type: &str, body: &str, is_head: bool, is_last: bool, extra: &str) -> Vec<u8> {
    let (reason, length) = (reason(code), body.len());
    let connection = if is_last { "close" } else { "keep-alive" };
    let mut answer = String::with_capacity(256 + length);
    let headers = write!(
        answer,
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{extra}\
         Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n"
    );
    headers.expect("writing to a String does not fail");
    if !is_head {
        answer.push_str(body);
    }
    answer.into_bytes()
}
