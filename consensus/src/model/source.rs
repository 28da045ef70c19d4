//! The source of a camera's stream, and how it is fetched.

use super::Secret;
use super::text::{Invalid, TextRule, shown};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub const URL_BYTES_MAX: usize = 2_048;
/// The form of a user name and of a password.
pub const CREDENTIAL: TextRule = TextRule::Printable {
    bytes_max: CREDENTIAL_BYTES_MAX,
};
const CREDENTIAL_BYTES_MAX: usize = 256;
/// Milliseconds.
pub const STALL_AFTER_MS: RangeInclusive<u64> = 1_000..=600_000;
/// Bits per second.
pub const BUDGET_BPS: RangeInclusive<u64> = 1_000_000..=10_000_000_000;

/// `rtsp://` or `rtsps://` with a host, without credentials: those are stored separately as
/// secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RtspUrl {
    /// The original text.
    text: String,
    url: url::Url,
}

impl RtspUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn url(&self) -> &url::Url {
        &self.url
    }

    /// `rtsps`: RTSP over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "rtsps"
    }
}

impl TryFrom<String> for RtspUrl {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        match checked_url(&text) {
            Ok(url) => Ok(Self { text, url }),
            Err(why) => Err(Invalid::new("url", why)),
        }
    }
}

impl FromStr for RtspUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::try_from(text.to_owned())
    }
}

impl From<RtspUrl> for String {
    fn from(url: RtspUrl) -> Self {
        url.text
    }
}

impl fmt::Display for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The error never repeats the input: people paste credentials into URLs.
fn checked_url(text: &str) -> Result<url::Url, String> {
    const FORM: &str = "use rtsp://host[:port]/path or rtsps://host[:port]/path";
    if text.len() > URL_BYTES_MAX {
        return Err(format!(
            "is {} bytes long; at most {URL_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    let url = url::Url::parse(text).map_err(|error| format!("is not a URL ({error}); {FORM}"))?;
    if !matches!(url.scheme(), "rtsp" | "rtsps") {
        return Err(format!("has the scheme {:?}; {FORM}", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no host; {FORM}"));
    }
    if url.port() == Some(0) {
        return Err(format!("has port 0, which cannot be reached; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "contains credentials; set `source.username` and `source.password` instead".to_owned(),
        );
    }
    Ok(url)
}

/// How to log in at a camera. A password needs a user name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Credentials {
    username: String,
    password: Option<Secret>,
}

#[derive(Deserialize)]
struct Unchecked {
    username: String,
    password: Option<Secret>,
}

impl Credentials {
    /// # Errors
    /// One is too long or has control characters, or the user name is empty.
    pub fn new(username: String, password: Option<Secret>) -> Result<Self, Invalid> {
        if username.is_empty() {
            return Err(Invalid::new(
                "username",
                "is empty; a password needs a user name",
            ));
        }
        CREDENTIAL
            .check(&username)
            .map_err(|why| Invalid::new("username", why))?;
        if let Some(Secret(password)) = &password {
            // The error must not repeat the password.
            CREDENTIAL.check(password).map_err(|_| {
                let rule =
                    format!("use at most {CREDENTIAL_BYTES_MAX} bytes without control characters");
                Invalid::new("password", format!("has {} bytes; {rule}", password.len()))
            })?;
        }
        Ok(Self { username, password })
    }

    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Empty where none was set.
    #[must_use]
    pub fn password(&self) -> &str {
        self.password.as_ref().map_or("", |secret| &secret.0)
    }

    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

impl TryFrom<Unchecked> for Credentials {
    type Error = Invalid;

    fn try_from(Unchecked { username, password }: Unchecked) -> Result<Self, Invalid> {
        Self::new(username, password)
    }
}

/// How RTP reaches the recorder (RFC 2326 clause 10.12 interleaved TCP, or UDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Whichever the camera offers.
    #[default]
    Auto,
    Tcp,
    Udp,
}

/// Whether audio is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audio {
    /// If the camera has an audio track that can be recorded.
    #[default]
    Auto,
    Off,
}

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How an `rtsps://` camera is authenticated. As text: `system`, `insecure`, or `sha256:` and 64
/// hexadecimal digits, with or without colons between the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tls {
    /// By a certificate for the URL's host that an authority of the node's system has signed.
    #[default]
    System,
    /// Not at all: any certificate is accepted.
    Insecure,
    /// By this certificate, regardless of who signed it.
    Pinned(Fingerprint),
}

const PINNED_PREFIX: &str = "sha256:";

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Insecure => f.write_str("insecure"),
            Self::Pinned(fingerprint) => write!(f, "{PINNED_PREFIX}{fingerprint}"),
        }
    }
}

impl FromStr for Tls {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let pinned = || {
            Some(Self::Pinned(Fingerprint(digest(
                text.strip_prefix(PINNED_PREFIX)?,
            )?)))
        };
        match text {
            "system" => Ok(Self::System),
            "insecure" => Ok(Self::Insecure),
            text => pinned().ok_or_else(|| {
                let forms = "use system, insecure, or sha256: and the 64 hexadecimal digits of the \
                     certificate's SHA-256";
                Invalid::new("tls", format!("is {}; {forms}", shown(text)))
            }),
        }
    }
}

/// 32 bytes in hexadecimal, with or without colons between them.
fn digest(text: &str) -> Option<[u8; 32]> {
    let is_colon = |at: usize| at % 3 == 2;
    let digits: Vec<u8> = match text.len() {
        64 => text.bytes().collect(),
        95 if text
            .bytes()
            .enumerate()
            .all(|(at, byte)| is_colon(at) == (byte == b':')) =>
        {
            text.bytes().filter(|byte| *byte != b':').collect()
        }
        _ => return None,
    };
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

impl TryFrom<String> for Tls {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Tls> for String {
    fn from(tls: Tls) -> Self {
        tls.to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub url: RtspUrl,
    pub credentials: Option<Credentials>,
    pub transport: Transport,
    pub audio: Audio,
    /// Milliseconds without a frame after which a session counts as stalled; `None`: derived from
    /// the camera's usual frame interval.
    pub stall_after_ms: Option<u32>,
    /// For an `rtsps://` camera.
    pub tls: Tls,
    /// Bits per second above which the session is closed; `None`: derived from what the camera
    /// usually sends.
    pub budget_bps: Option<u64>,
}

impl Source {
    /// `url` without a login, and the defaults.
    ///
    /// # Errors
    /// The URL is no RTSP URL.
    pub fn new(url: &str) -> Result<Self, Invalid> {
        Ok(Self {
            url: url.parse()?,
            credentials: None,
            transport: Transport::default(),
            audio: Audio::default(),
            stall_after_ms: None,
            tls: Tls::default(),
            budget_bps: None,
        })
    }

    /// # Errors
    /// A number is out of range, or `tls` is set for a camera without TLS.
    pub fn check(&self) -> Result<(), Invalid> {
        in_range(
            "stall_after_ms",
            self.stall_after_ms.map(u64::from),
            STALL_AFTER_MS,
        )?;
        in_range("budget_bps", self.budget_bps, BUDGET_BPS)?;
        if self.tls != Tls::System && !self.url.is_tls() {
            let why = format!(
                "is {}, which is for rtsps:// only; set it to system, or use an rtsps:// URL",
                self.tls
            );
            return Err(Invalid::new("tls", why));
        }
        Ok(())
    }
}

fn in_range(field: &str, value: Option<u64>, range: RangeInclusive<u64>) -> Result<(), Invalid> {
    match value {
        Some(value) if !range.contains(&value) => {
            let (min, max) = range.into_inner();
            Err(Invalid::new(
                field,
                format!("is {value}; {min} to {max} are supported, and 0 or none for automatic"),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_host_scheme_or_with_credentials_are_refused() {
        for good in [
            "rtsp://10.0.0.1:554/main?x=1",
            "rtsp://[fe80::1]/main",
            "rtsps://cam.local/",
        ] {
            assert_eq!(good.parse::<RtspUrl>().unwrap().as_str(), good);
        }
        assert!(
            "rtsps://h/".parse::<RtspUrl>().unwrap().is_tls()
                && !"rtsp://h/".parse::<RtspUrl>().unwrap().is_tls()
        );
        for (url, why) in [
            ("", "is not a URL"),
            ("10.0.0.1/main", "is not a URL"),
            ("http://10.0.0.1/main", "scheme \"http\""),
            ("rtsp:///main", "names no host"),
            ("rtsp://10.0.0.1:0/", "port 0"),
            ("rtsp://admin:secret@10.0.0.1/", "credentials"),
            ("rtsp://admin@10.0.0.1/", "credentials"),
            (
                &format!("rtsp://h/{}", "x".repeat(URL_BYTES_MAX)),
                "2057 bytes long; at most 2048",
            ),
        ] {
            let message = url.parse::<RtspUrl>().unwrap_err().to_string();
            assert!(
                message.starts_with("`url`") && message.contains(why),
                "{url}: {message}"
            );
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_password_needs_a_user_name_and_is_never_repeated() {
        let secret = |text: &str| Some(Secret(text.to_owned()));
        assert!(Credentials::new(String::new(), secret("p")).is_err());
        let error = Credentials::new("u".into(), secret("hunter2\r\n")).unwrap_err();
        assert!(
            error.field == "password" && !error.to_string().contains("hunter2"),
            "{error}"
        );
        let good = Credentials::new("u".into(), secret("p")).unwrap();
        assert_eq!(
            (good.username(), good.password(), good.has_password()),
            ("u", "p", true)
        );
        let wrong = postcard::to_allocvec(&("", Some("p"))).unwrap();
        assert!(
            postcard::from_bytes::<Credentials>(&wrong).is_err(),
            "decoding checks too"
        );
        assert_eq!(
            postcard::from_bytes::<Credentials>(&postcard::to_allocvec(&good).unwrap()).unwrap(),
            good
        );
    }

    #[test]
    fn a_certificate_is_pinned_by_its_digest_in_either_notation() {
        let (plain, colons) = ("ab".repeat(32), vec!["AB"; 32].join(":"));
        let pinned = Tls::Pinned(Fingerprint([0xab; 32]));
        for digits in [&plain, &colons] {
            assert_eq!(format!("sha256:{digits}").parse(), Ok(pinned));
        }
        for tls in [Tls::System, Tls::Insecure, pinned] {
            assert_eq!(tls.to_string().parse(), Ok(tls));
        }
        for bad in [
            "",
            "sha256:",
            "sha256:ab",
            &plain,
            &format!("sha256:{}", "xy".repeat(32)),
            &format!("sha1:{plain}"),
        ] {
            assert_eq!(bad.parse::<Tls>().unwrap_err().field, "tls", "{bad}");
        }
        let shifted = format!("sha256:A:{}", &colons[..93]);
        assert!(shifted.parse::<Tls>().is_err(), "{shifted}");
    }

    #[test]
    fn numbers_have_ranges_and_tls_needs_rtsps() {
        let plain = Source::new("rtsp://h/").unwrap();
        let field = |source: Source| source.check().err().map(|error| error.field);
        let stall = |stall_after_ms| {
            field(Source {
                stall_after_ms,
                ..plain.clone()
            })
        };
        assert_eq!(
            (stall(None), stall(Some(1_000)), stall(Some(600_000))),
            (None, None, None)
        );
        let wrong = Some("stall_after_ms".to_owned());
        assert_eq!(
            (stall(Some(999)), stall(Some(600_001))),
            (wrong.clone(), wrong)
        );
        let budget = |budget_bps| {
            field(Source {
                budget_bps,
                ..plain.clone()
            })
        };
        assert_eq!(
            (budget(Some(1_000_000)), budget(Some(10_000_000_000))),
            (None, None)
        );
        assert_eq!(
            (budget(Some(999_999)), budget(Some(10_000_000_001)))
                .0
                .as_deref(),
            Some("budget_bps")
        );
        assert!(budget(Some(10_000_000_001)).is_some());
        let insecure = Source {
            tls: Tls::Insecure,
            ..plain.clone()
        };
        assert_eq!(field(insecure.clone()).as_deref(), Some("tls"));
        assert_eq!(
            field(Source {
                url: "rtsps://h/".parse().unwrap(),
                ..insecure
            }),
            None
        );
    }
}
