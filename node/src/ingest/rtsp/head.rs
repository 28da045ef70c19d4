//! The head of a message: put right line by line, then parsed by retina. Pure.
//!
//! Cameras send header lines without a value or a colon, control characters, bare line feeds, versions such as
//! `RTSP/1.1`, status lines without a phrase. Such lines are left out or replaced; what a message needs is its status
//! and the headers that can be read.

use retina::rtsp::msg::{Headers, Message};
use retina::rtsp::parse::Parser;
use std::fmt::Write;

/// Header lines that are looked at.
const LINES_MAX: usize = 256;

pub(crate) enum Head {
    Response {
        status: u16,
        headers: Headers,
    },
    /// From the camera to us.
    Request {
        method: String,
        headers: Headers,
    },
}

impl Head {
    pub(crate) fn headers(&self) -> &Headers {
        match self {
            Self::Response { headers, .. } | Self::Request { headers, .. } => headers,
        }
    }
}

/// Parses a head, with or without the empty line at its end. `None`: its first line is none of RTSP's.
pub(crate) fn parse(bytes: &[u8]) -> Option<Head> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
    let mut head = first_line(lines.next()?)?;
    for line in lines.take(LINES_MAX) {
        if let Some((name, value)) = header(line) {
            // The body is not part of what retina parses here.
            if !name.eq_ignore_ascii_case("content-length") {
                let value = value.replace(|c: char| !c.is_ascii(), "?");
                write!(head, "{name}: {value}\r\n").ok()?;
            }
        }
    }
    head.push_str("\r\n");
    let (message, _) = Parser::default().feed(&mut head.as_bytes()).ok()??;
    match message {
        Message::Response(response) => {
            Some(Head::Response { status: response.status_code.as_u16(), headers: response.headers })
        }
        Message::Request(request) => {
            Some(Head::Request { method: request.method.to_string(), headers: request.headers })
        }
        Message::Data(_) => None,
    }
}

/// The length of the body that follows a head: of the first length that can be read, none without one.
pub(crate) fn body_bytes(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let lengths = text.split(['\r', '\n']).filter_map(header).filter_map(|(name, value)| {
        let number = value.split(|c: char| !c.is_ascii_digit()).next()?;
        name.eq_ignore_ascii_case("content-length").then(|| number.parse().ok())?
    });
    lengths.take(1).next().unwrap_or(0)
}

/// The first line as RFC 2326, 6.1 and 7.1 have it.
fn first_line(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    if first.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("RTSP/")) {
        let status: u16 = words.next()?.parse().ok().filter(|status| (100..1000).contains(status))?;
        return Some(format!("RTSP/1.0 {status} X\r\n"));
    }
    let is_method = first.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_method.then(|| format!("{first} * RTSP/1.0\r\n"))
}

/// Name and value, where the line has both.
fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_named = !name.is_empty() && name.bytes().all(is_token);
    let is_readable = !value.is_empty() && !value.chars().any(|c| c.is_control() && c != '\t');
    (is_named && is_readable).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Option<(u16, Headers)> {
        match parse(text.as_bytes())? {
            Head::Response { status, headers } => Some((status, headers)),
            Head::Request { .. } => None,
        }
    }

    #[test]
    fn a_response_is_its_status_and_headers() {
        let (status, headers) = response("RTSP/1.0 200 OK\r\nCSeq: 3\r\nsession: 12;timeout=60\r\n\r\n").unwrap();
        assert_eq!(status, 200);
        assert_eq!(headers.get("Session").map(|value| &**value), Some("12;timeout=60"));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let text = "rtsp/1.1 401\nCSeq:1\nServer:\nno colon\n: x\nWWW-Authenticate: Digest realm=\"a\"\n\
                    WWW-Authenticate: Basic realm=\"a\"\nDate: \u{1}\n\n";
        let (status, headers) = response(text).unwrap();
        assert_eq!((status, headers.iter().count()), (401, 2));
        let challenges = headers.get("www-authenticate").map(|value| value.to_string());
        assert_eq!(challenges.as_deref(), Some("Digest realm=\"a\", Basic realm=\"a\""));
    }

    #[test]
    fn a_camera_may_ask_too() {
        let Some(Head::Request { method, .. }) = parse(b"OPTIONS rtsp://[bad RTSP/1.0\r\nCSeq: 1\r\n\r\n") else {
            panic!("not taken for a request");
        };
        assert_eq!(method, "OPTIONS");
        assert!(parse(b"\x01\x02\x03").is_none());
        assert!(parse(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_none());
    }

    #[test]
    fn lengths_of_bodies_are_read_as_far_as_they_go() {
        assert_eq!(body_bytes(b"RTSP/1.0 200 OK\r\nContent-Length: 12 bytes\r\n"), 12);
        assert_eq!(body_bytes(b"RTSP/1.0 200 OK\r\ncontent-length:-4\r\n"), 0);
        assert_eq!(body_bytes(b"RTSP/1.0 200 OK\r\nContent-Length: 4000000000\r\n"), 4_000_000_000);
        assert_eq!(body_bytes(b"RTSP/1.0 200 OK\r\n"), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_head_or_none(bytes: Vec<u8>) {
            parse(&bytes);
            body_bytes(&bytes);
        }

        #[test]
        fn any_headers_leave_the_status(lines: Vec<String>) {
            let text = format!("RTSP/1.0 200 OK\r\n{}\r\n\r\n", lines.join("\r\n"));
            proptest::prop_assert_eq!(response(&text).map(|response| response.0), Some(200));
        }
    }
}
