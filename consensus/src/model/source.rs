//! Where a camera's stream comes from, and how it is fetched.

use super::Secret;
use super::text::{Invalid, printable};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const URL_BYTES_MAX: usize = 2_048;
const CREDENTIAL_BYTES_MAX: usize = 256;

/// `rtsp://` or `rtsps://` with a host, without credentials: those are kept apart, where they are secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RtspUrl {
    /// As it was set.
    text: String,
    url: reqwest::Url,
}

impl RtspUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn url(&self) -> &reqwest::Url {
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

/// What was given is never repeated: people paste credentials into URLs.
fn checked_url(text: &str) -> Result<reqwest::Url, String> {
    const FORM: &str = "use rtsp://host[:port]/path or rtsps://host[:port]/path";
    if text.len() > URL_BYTES_MAX {
        return Err(format!("is {} bytes long; at most {URL_BYTES_MAX} are allowed", text.len()));
    }
    let url = reqwest::Url::parse(text).map_err(|error| format!("is not a URL ({error}); {FORM}"))?;
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
        return Err("contains credentials; set `source.username` and `source.password` instead".to_owned());
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
            return Err(Invalid::new("username", "is empty; a password needs a user name"));
        }
        printable(&username, CREDENTIAL_BYTES_MAX).map_err(|why| Invalid::new("username", why))?;
        if let Some(Secret(password)) = &password {
            // Without what was given.
            printable(password, CREDENTIAL_BYTES_MAX).map_err(|_| {
                let rule = format!("use at most {CREDENTIAL_BYTES_MAX} bytes without control characters");
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
    #[default]
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub url: RtspUrl,
    pub credentials: Option<Credentials>,
    pub transport: Transport,
}

impl Source {
    /// `url` without a login, and the defaults.
    ///
    /// # Errors
    /// The URL is not one of RTSP.
    pub fn new(url: &str) -> Result<Self, Invalid> {
        Ok(Self { url: url.parse()?, credentials: None, transport: Transport::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_host_scheme_or_with_credentials_are_refused() {
        for good in ["rtsp://10.0.0.1:554/main?x=1", "rtsp://[fe80::1]/main", "rtsps://cam.local/"] {
            assert_eq!(good.parse::<RtspUrl>().unwrap().as_str(), good);
        }
        assert!("rtsps://h/".parse::<RtspUrl>().unwrap().is_tls() && !"rtsp://h/".parse::<RtspUrl>().unwrap().is_tls());
        for (url, why) in [
            ("", "is not a URL"),
            ("10.0.0.1/main", "is not a URL"),
            ("http://10.0.0.1/main", "scheme \"http\""),
            ("rtsp:///main", "names no host"),
            ("rtsp://10.0.0.1:0/", "port 0"),
            ("rtsp://admin:secret@10.0.0.1/", "credentials"),
            ("rtsp://admin@10.0.0.1/", "credentials"),
            (&format!("rtsp://h/{}", "x".repeat(URL_BYTES_MAX)), "2057 bytes long; at most 2048"),
        ] {
            let message = url.parse::<RtspUrl>().unwrap_err().to_string();
            assert!(message.starts_with("`url`") && message.contains(why), "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_password_needs_a_user_name_and_is_never_repeated() {
        let secret = |text: &str| Some(Secret(text.to_owned()));
        assert!(Credentials::new(String::new(), secret("p")).is_err());
        let error = Credentials::new("u".into(), secret("hunter2\r\n")).unwrap_err();
        assert!(error.field == "password" && !error.to_string().contains("hunter2"), "{error}");
        let good = Credentials::new("u".into(), secret("p")).unwrap();
        assert_eq!((good.username(), good.password(), good.has_password()), ("u", "p", true));
        let wrong = postcard::to_allocvec(&("", Some("p"))).unwrap();
        assert!(postcard::from_bytes::<Credentials>(&wrong).is_err(), "decoding checks too");
        assert_eq!(postcard::from_bytes::<Credentials>(&postcard::to_allocvec(&good).unwrap()).unwrap(), good);
    }
}
