//! An answer to a request as text, so that it can be changed in ways that no builder of answers
//! allows.

use rtsp_types::Response;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Code and reason.
    pub(crate) status: String,
    /// In order; a name may occur twice. Does not contain `Content-Length`.
    pub(crate) headers: Vec<(String, String)>,
    /// Head lines that are not headers.
    pub(crate) odd_lines: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) line_end: &'static str,
    /// Between a header's name and its value.
    pub(crate) colon: &'static str,
}

impl Reply {
    /// Without headers.
    pub(crate) fn bare(status: &str) -> Self {
        Self {
            status: status.to_owned(),
            headers: Vec::new(),
            odd_lines: Vec::new(),
            body: Vec::new(),
            line_end: "\r\n",
            colon: ": ",
        }
    }

    pub(crate) fn of(response: &Response<Vec<u8>>) -> Self {
        let headers = response
            .headers()
            .map(|(name, value)| (name.to_string(), value.as_str().to_owned()));
        let headers = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"));
        Self {
            headers: headers.collect(),
            body: response.body().clone(),
            ..Self::bare(&format!(
                "{} {}",
                u16::from(response.status()),
                response.reason_phrase()
            ))
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Replaces the header with this name, or appends it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self
            .headers
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some((_, known)) => value.clone_into(known),
            None => self.add(name, value),
        }
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let Self {
            line_end, colon, ..
        } = self;
        let mut head = format!("RTSP/1.0 {}{line_end}", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}{colon}{value}{line_end}"));
        }
        for line in &self.odd_lines {
            head.push_str(&format!("{line}{line_end}"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!(
                "Content-Length{colon}{}{line_end}",
                self.body.len()
            ));
        }
        head.push_str(line_end);
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtsp_types::{StatusCode, Version, headers};

    #[test]
    fn an_answer_says_the_same_as_before() {
        let response = Response::builder(Version::V1_0, StatusCode::Ok)
            .header(headers::CSEQ, "7")
            .header(headers::CONTENT_TYPE, "application/sdp")
            .build(b"v=0\r\n".to_vec());
        let mut out = Vec::new();
        Reply::of(&response).write(&mut out);
        let (message, length) = rtsp_types::Message::<Vec<u8>>::parse(&out).unwrap();
        assert_eq!((message, length), (response.into(), out.len()));
    }

    #[test]
    fn headers_are_changed_in_their_place() {
        let mut reply = Reply::bare("200 OK");
        reply.add("CSeq", "1");
        reply.add("Session", "a");
        reply.set("cseq", "2");
        reply.remove("SESSION");
        reply.odd_lines.push("X-Vendor".to_owned());
        let mut out = Vec::new();
        reply.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "RTSP/1.0 200 OK\r\nCSeq: 2\r\nX-Vendor\r\n\r\n"
        );
    }
}
