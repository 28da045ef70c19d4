//! The head of a message: corrected line by line, then parsed by retina. Pure.
//!
//! Cameras send header lines without a value or a colon, control characters, bare line feeds,
//! versions such as `RTSP/1.1`, status lines without a phrase. Such lines are left out or replaced;
//! a message needs only its status and its readable headers.

use retina::rtsp::msg::{Headers, Message};
use retina::rtsp::parse::Parser;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Header lines that are looked at.
const LINES_MAX: usize = 256;

pub(crate) enum Head {
    Response {
        status: u16,
        fields: Fields,
    },
    /// From the camera to us.
    Request {
        method: String,
        fields: Fields,
    },
}

/// The headers of a message. Several of one name are one, with commas between.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    /// Without bytes that are not ASCII.
    headers: Headers,
    /// By name in lower case, those that are not all ASCII, as they came.
    foreign: BTreeMap<String, Vec<u8>>,
}

impl Fields {
    /// A value of which only ASCII counts: there is `?` in place of other bytes.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| &**value)
    }

    /// A value byte for byte as the camera sent it.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let foreign = self
            .foreign
            .get(&name.to_ascii_lowercase())
            .map(Vec::as_slice);
        foreign.or_else(|| self.get(name).map(str::as_bytes))
    }
}

impl Head {
    pub(crate) fn fields(&self) -> &Fields {
        match self {
            Self::Response { fields, .. } | Self::Request { fields, .. } => fields,
        }
    }
}

/// Parses a head, with or without the empty line at its end. `None`: its first line is not one of
/// RTSP.
pub(crate) fn parse(bytes: &[u8]) -> Option<Head> {
    let mut lines = lines(bytes);
    let mut head = first_line(&String::from_utf8_lossy(lines.next()?))?;
    let mut foreign: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in lines.take(LINES_MAX).filter_map(header) {
        // Retina does not parse the body here.
        if name.eq_ignore_ascii_case("content-length") {
            continue;
        }
        let ascii: String = value
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    char::from(*byte)
                } else {
                    '?'
                }
            })
            .collect();
        write!(head, "{name}: {ascii}\r\n").ok()?;
        let joined = foreign.entry(name.to_ascii_lowercase()).or_default();
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(value);
    }
    head.push_str("\r\n");
    foreign.retain(|_, value| !value.is_ascii());
    let (message, _) = Parser::default().feed(&mut head.as_bytes()).ok()??;
    match message {
        Message::Response(response) => {
            let fields = Fields {
                headers: response.headers,
                foreign,
            };
            Some(Head::Response {
                status: response.status_code.as_u16(),
                fields,
            })
        }
        Message::Request(request) => {
            let fields = Fields {
                headers: request.headers,
                foreign,
            };
            Some(Head::Request {
                method: request.method.to_string(),
                fields,
            })
        }
        Message::Data(_) => None,
    }
}

/// The length of the body that follows a head: of the first length that can be read, none without
/// one.
pub(crate) fn body_bytes(bytes: &[u8]) -> u64 {
    let lengths = lines(bytes).filter_map(header).filter_map(|(name, value)| {
        let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
        let number = std::str::from_utf8(digits).ok()?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| number.parse().ok())?
    });
    lengths.take(1).next().unwrap_or(0)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .filter(|line| !line.is_empty())
}

/// The first line as RFC 2326, 6.1 and 7.1 have it.
fn first_line(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    if first
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("RTSP/"))
    {
        let status: u16 = words
            .next()?
            .parse()
            .ok()
            .filter(|status| (100..1000).contains(status))?;
        return Some(format!("RTSP/1.0 {status} X\r\n"));
    }
    let is_method = first
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_method.then(|| format!("{first} * RTSP/1.0\r\n"))
}

/// Name and value, if the line has both.
fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_named = !name.is_empty() && name.iter().all(is_token);
    let is_readable = !value.is_empty()
        && !value
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t');
    let name = std::str::from_utf8(name).ok()?;
    (is_named && is_readable).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Option<(u16, Fields)> {
        match parse(text.as_bytes())? {
            Head::Response { status, fields } => Some((status, fields)),
            Head::Request { .. } => None,
        }
    }

    #[test]
    fn a_response_is_its_status_and_headers() {
        let (status, fields) =
            response("RTSP/1.0 200 OK\r\nCSeq: 3\r\nsession: 12;timeout=60\r\n\r\n").unwrap();
        assert_eq!(status, 200);
        assert_eq!(fields.get("Session"), Some("12;timeout=60"));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let text = "rtsp/1.1 401\nCSeq:1\nServer:\nno colon\n: x\n\
                    WWW-Authenticate: Digest realm=\"a\"\n\
                    WWW-Authenticate: Basic realm=\"a\"\nDate: \u{1}\n\n";
        let (status, fields) = response(text).unwrap();
        assert_eq!((status, fields.headers.iter().count()), (401, 2));
        assert_eq!(
            fields.get("www-authenticate"),
            Some("Digest realm=\"a\", Basic realm=\"a\"")
        );
    }

    #[test]
    fn values_in_any_encoding_are_kept_as_they_came() {
        let head = parse(
            b"RTSP/1.0 401 X\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\
            WWW-Authenticate: Digest realm=\"S\xfcd \xc3\xa0\r\nServer: ok\r\n\r\n",
        );
        let head = head.unwrap();
        let fields = head.fields();
        let expected = b"Basic realm=\"a\", Digest realm=\"S\xfcd \xc3\xa0";
        assert_eq!(fields.bytes("WWW-Authenticate"), Some(&expected[..]));
        assert_eq!(
            fields.get("www-authenticate"),
            Some("Basic realm=\"a\", Digest realm=\"S?d ??")
        );
        assert_eq!(fields.bytes("server"), Some(&b"ok"[..]));
        assert_eq!(fields.bytes("date"), None);
    }

    #[test]
    fn a_camera_may_ask_too() {
        let Some(Head::Request { method, .. }) =
            parse(b"OPTIONS rtsp://[bad RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        else {
            panic!("not taken for a request");
        };
        assert_eq!(method, "OPTIONS");
        assert!(parse(b"\x01\x02\x03").is_none());
        assert!(parse(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_none());
    }

    #[test]
    fn lengths_of_bodies_are_read_as_far_as_they_go() {
        assert_eq!(
            body_bytes(b"RTSP/1.0 200 OK\r\nContent-Length: 12 bytes\r\n"),
            12
        );
        assert_eq!(body_bytes(b"RTSP/1.0 200 OK\r\ncontent-length:-4\r\n"), 0);
        assert_eq!(
            body_bytes(b"RTSP/1.0 200 OK\r\nContent-Length: 4000000000\r\n"),
            4_000_000_000
        );
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
