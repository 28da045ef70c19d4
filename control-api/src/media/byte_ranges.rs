//! Partial answers (RFC 9110, 13 and 14): the only place where a request's conditions and its range
//! decide what is sent of a representation whose length and bytes are known.
//!
//! A single range is sent as 206. Several are answered with the whole, as 14.2 allows. There is no
//! `Last-Modified`: footage that a returning node brings has old times.

use crate::error::{ApiError, ErrorKind};
use crate::resources::ports::Result;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Who may have more of the range in a moment: the answer may be without it.
pub(super) const LATE: HeaderName = HeaderName::from_static("x-holdfast-late");

/// The parts of a request that decide how much is sent.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    method: Method,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut RequestParts,
        _: &S,
    ) -> std::result::Result<Self, Infallible> {
        Ok(Self {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
        })
    }
}

/// A representation that can be sent.
#[derive(Clone, Debug)]
pub(super) struct Representation {
    pub(super) bytes: u64,
    /// A strong entity tag: different bytes have a different one.
    pub(super) tag: String,
    pub(super) content_type: &'static str,
    pub(super) cache: &'static str,
    /// Sent with every answer that contains some of it.
    pub(super) headers: Vec<(HeaderName, String)>,
    /// Who may have more of it in a moment.
    pub(super) late: Option<String>,
}

/// The decision what to send.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    /// The client already has it (304).
    Nothing,
    All,
    /// 206.
    Part(Range<u64>),
    /// It is not the version that the client means (412).
    Other,
    /// The range lies beyond the end (416).
    Unsatisfiable,
}

impl Representation {
    /// The answer; `open` makes the body of these bytes, and is not called if none are sent.
    pub(super) async fn answer<E: From<ApiError>>(
        self,
        to: &Conditions,
        open: impl AsyncFnOnce(Range<u64>) -> std::result::Result<Body, E>,
    ) -> std::result::Result<Response, E> {
        if let Some(late) = self.late.as_ref().filter(|_| to.means_another(&self.tag)) {
            return Err(may_be_complete_soon(late).into());
        }
        let (status, range) = match to.decide(&self.tag, self.bytes) {
            Sent::Nothing => {
                return Ok((StatusCode::NOT_MODIFIED, self.conditional()?).into_response());
            }
            Sent::Other => return Ok(self.other()?.into_response()),
            Sent::Unsatisfiable => return Ok(self.unsatisfiable()?.into_response()),
            Sent::All => (StatusCode::OK, 0..self.bytes),
            Sent::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        };
        let mut headers = self.conditional()?;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(range.end - range.start),
        );
        if status == StatusCode::PARTIAL_CONTENT {
            let which = format!("bytes {}-{}/{}", range.start, range.end - 1, self.bytes);
            headers.insert(header::CONTENT_RANGE, value(&which)?);
        }
        for (name, text) in &self.headers {
            headers.insert(name, value(text)?);
        }
        let body = if to.method == Method::HEAD {
            Body::empty()
        } else {
            open(range).await?
        };
        Ok((status, headers, body).into_response())
    }

    /// Like [`Representation::answer`], for bytes in memory.
    pub(super) async fn answer_of(self, to: &Conditions, bytes: Bytes) -> Result<Response> {
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        self.answer(to, async |range: Range<u64>| {
            Ok(bytes.slice(within(range.start)..within(range.end)).into())
        })
        .await
    }

    /// The headers that a client needs to cache it.
    fn conditional(&self) -> Result<HeaderMap> {
        let cache = (header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        Ok(HeaderMap::from_iter([
            (header::ETAG, value(&self.tag)?),
            cache,
        ]))
    }

    fn other(&self) -> Result<Response> {
        let detail = format!(
            "its tag is {}, which `If-Match` does not name: the footage has changed",
            self.tag
        );
        let mut answer = ApiError::new(ErrorKind::PreconditionFailed, detail).into_response();
        answer.headers_mut().insert(header::ETAG, value(&self.tag)?);
        Ok(answer)
    }

    fn unsatisfiable(&self) -> Result<Response> {
        let detail = format!(
            "it has {} bytes, and the range begins beyond them",
            self.bytes
        );
        let mut answer = ApiError::new(ErrorKind::RangeNotSatisfiable, detail).into_response();
        answer.headers_mut().insert(
            header::CONTENT_RANGE,
            value(&format!("bytes */{}", self.bytes))?,
        );
        answer
            .headers_mut()
            .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Ok(answer)
    }
}

/// Why nothing is sent: `missing`, unless `late` may have it.
pub(super) fn missing_or_late(
    late: Option<&String>,
    missing: impl FnOnce() -> ApiError,
) -> ApiError {
    late.map_or_else(missing, |late| may_be_complete_soon(late))
}

fn may_be_complete_soon(late: &str) -> ApiError {
    let detail = format!("{late}: what was requested may be complete in a moment");
    ApiError::unavailable(detail).code("footage-late")
}

/// The strong tag of bytes in memory.
pub(super) fn tag_of(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|error| ApiError::internal(format!("header {text:?}: {error}")))
}

impl Conditions {
    /// Whether the client can use only bytes of one version, because it joins them to what it has.
    pub(super) fn means_one_version(&self, all: bool) -> bool {
        self.headers.contains_key(header::IF_MATCH)
            || (!all && self.headers.contains_key(header::IF_RANGE))
    }

    /// Whether the client means another version than the present one.
    fn means_another(&self, tag: &str) -> bool {
        let unmatched = self.matches(header::IF_MATCH, |one| one == tag) == Some(false);
        unmatched || !self.continues(tag)
    }

    /// Whether the client has the beginning of this version, or says nothing of what it has.
    fn continues(&self, tag: &str) -> bool {
        self.headers
            .get(header::IF_RANGE)
            .is_none_or(|known| known.as_bytes() == tag.as_bytes())
    }

    /// In the order of RFC 9110, 13.2.2.
    fn decide(&self, tag: &str, bytes: u64) -> Sent {
        if !self
            .matches(header::IF_MATCH, |one| one == tag)
            .unwrap_or(true)
        {
            return Sent::Other;
        }
        // Weak comparison (8.8.3.2).
        if self
            .matches(header::IF_NONE_MATCH, |one| opaque(one) == opaque(tag))
            .unwrap_or(false)
        {
            return Sent::Nothing;
        }
        // A range is defined for GET alone (14.2).
        match self
            .text(header::RANGE)
            .filter(|_| self.continues(tag) && self.method == Method::GET)
        {
            Some(range) => within(range, bytes),
            None => Sent::All,
        }
    }

    /// Whether a condition matches the present representation; `None` if it is not set.
    fn matches(&self, name: HeaderName, is_it: impl Fn(&str) -> bool) -> Option<bool> {
        let mut lines = self.headers.get_all(name).iter().peekable();
        lines.peek()?;
        let names = |line: &str| line.trim() == "*" || line.split(',').any(|one| is_it(one.trim()));
        // A value that cannot be read matches nothing.
        Some(lines.any(|line| line.to_str().is_ok_and(names)))
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

/// The bytes that a `Range` requests; a value that cannot be read is ignored (14.2).
fn within(range: &str, bytes: u64) -> Sent {
    let Some((unit, set)) = range.split_once('=') else {
        return Sent::All;
    };
    let (unit, set) = (unit.trim(), set.trim());
    let Some((first, last)) = set
        .split_once('-')
        .filter(|_| unit.eq_ignore_ascii_case("bytes"))
    else {
        return Sent::All;
    };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) if last.is_none_or(|last| first <= last) => match first
            < bytes
        {
            true => Sent::Part(first..last.map_or(bytes, |last| last.saturating_add(1).min(bytes))),
            false => Sent::Unsatisfiable,
        },
        // This many bytes at the end.
        (Some(None), Some(Some(suffix))) => match suffix.min(bytes) {
            0 => Sent::Unsatisfiable,
            suffix => Sent::Part(bytes - suffix..bytes),
        },
        _ => Sent::All,
    }
}

/// `Some(None)` for an empty text, `None` for anything but a number. A number that is too large is
/// beyond any end.
fn number(digits: &str) -> Option<Option<u64>> {
    let digits = digits.trim();
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match (digits.is_empty(), is_plain) {
        (true, _) => Some(None),
        (false, true) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: &str = "\"7\"";

    fn asked(headers: &[(HeaderName, &'static str)]) -> Conditions {
        let headers = headers
            .iter()
            .map(|(name, text)| (name.clone(), HeaderValue::from_static(text)));
        Conditions {
            method: Method::GET,
            headers: headers.collect(),
        }
    }

    fn sent(range: &'static str) -> Sent {
        asked(&[(header::RANGE, range)]).decide(TAG, 100)
    }

    #[test]
    fn a_single_range_is_a_part() {
        assert_eq!(sent("bytes=0-0"), Sent::Part(0..1));
        assert_eq!(sent("bytes=10-19"), Sent::Part(10..20));
        assert_eq!(sent("Bytes = 10-1000 "), Sent::Part(10..100));
        assert_eq!(sent("bytes=99-"), Sent::Part(99..100));
        assert_eq!(sent("bytes=-1"), Sent::Part(99..100));
        assert_eq!(sent("bytes=-1000"), Sent::Part(0..100));
        assert_eq!(sent("bytes=5-99999999999999999999"), Sent::Part(5..100));
    }

    #[test]
    fn what_lies_beyond_the_end_is_refused() {
        for range in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(sent(range), Sent::Unsatisfiable, "{range}");
        }
        assert_eq!(within("bytes=0-", 0), Sent::Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_answered_whole() {
        for range in [
            "bytes=0-1,5-6",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "items=0-1",
            "0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(sent(range), Sent::All, "{range}");
        }
        let head = Conditions {
            method: Method::HEAD,
            ..asked(&[(header::RANGE, "bytes=0-1")])
        };
        assert_eq!(head.decide(TAG, 100), Sent::All);
    }

    #[test]
    fn a_range_counts_only_of_what_the_client_has_the_beginning_of() {
        let sent = |known| {
            asked(&[(header::RANGE, "bytes=1-2"), (header::IF_RANGE, known)]).decide(TAG, 100)
        };
        assert_eq!(sent("\"7\""), Sent::Part(1..3));
        for other in ["\"8\"", "W/\"7\"", "Sun, 22 Nov 2026 10:00:00 GMT", "7"] {
            assert_eq!(sent(other), Sent::All, "{other}");
        }
    }

    #[test]
    fn who_has_it_gets_nothing() {
        for known in ["\"7\"", "W/\"7\"", "\"1\", \"7\"", "*"] {
            let asked = asked(&[(header::IF_NONE_MATCH, known), (header::RANGE, "bytes=0-1")]);
            assert_eq!(asked.decide(TAG, 100), Sent::Nothing, "{known}");
        }
        assert_eq!(
            asked(&[(header::IF_NONE_MATCH, "\"8\"")]).decide(TAG, 100),
            Sent::All
        );
    }

    #[test]
    fn what_is_meant_and_is_not_there_is_refused_before_all_else() {
        let sent = |known| {
            asked(&[(header::IF_MATCH, known), (header::RANGE, "bytes=1-2")]).decide(TAG, 100)
        };
        for meant in ["\"7\"", "\"1\", \"7\"", "*"] {
            assert_eq!(sent(meant), Sent::Part(1..3), "{meant}");
        }
        for other in ["\"8\"", "W/\"7\"", "7", ""] {
            assert_eq!(sent(other), Sent::Other, "{other}");
        }
        let both = [
            (header::IF_MATCH, "\"8\""),
            (header::IF_NONE_MATCH, "\"7\""),
            (header::RANGE, "bytes=100-"),
        ];
        assert_eq!(asked(&both).decide(TAG, 100), Sent::Other);
        let mut lines = asked(&[(header::IF_MATCH, "\"8\"")]);
        lines
            .headers
            .append(header::IF_MATCH, HeaderValue::from_static("\"7\""));
        assert_eq!(lines.decide(TAG, 100), Sent::All);
        lines.headers.insert(
            header::IF_MATCH,
            HeaderValue::from_bytes(b"\"\xff\"").unwrap(),
        );
        assert_eq!(
            lines.decide(TAG, 100),
            Sent::Other,
            "what cannot be read is not what there is"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_a_part_lies_within(
            range in "(bytes)?=?[0-9]{0,3}-?[0-9]{0,3}[,-]?[0-9]{0,2}",
            bytes in 0u64..300,
        ) {
            if let Sent::Part(part) = within(&range, bytes) {
                prop_assert!(part.start < part.end && part.end <= bytes);
            }
        }
    }
}
