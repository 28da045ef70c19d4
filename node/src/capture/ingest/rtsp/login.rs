//! How a session authenticates to the camera (RFC 2326, D; RFC 7616, RFC 7617). Pure but for the
//! nonces that it draws.
//!
//! Nothing is sent before the camera asks. Once a camera has asked for Digest, the password is
//! never again sent in clear to its address, where an impostor may answer.

use super::challenge;
use super::digest::{Asking, Digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use uuid::Uuid;

/// Challenges that are answered for one request: a nonce that has run out, and one more.
const ANSWERS_MAX: u32 = 2;

/// Which authentication a camera has asked for, kept from session to session. Cheap to clone; all
/// clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginMemory(Arc<AtomicBool>);

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The camera did not accept the answers, or there is nothing to answer with.
    Credentials,
    /// It asks for the password in clear, and has asked for Digest before.
    Downgrade,
    /// A scheme that is not known.
    Scheme,
}

pub(crate) struct Login {
    user: Option<(String, String)>,
    memory: LoginMemory,
    scheme: Option<Scheme>,
    /// Answers in a row that were not accepted.
    answers: u32,
    warned: bool,
    is_encrypted: bool,
}

/// How the camera asked last.
enum Scheme {
    Basic,
    Digest(Digest),
}

impl Login {
    /// `user`: name and password; `is_encrypted`: the connection is.
    pub(crate) fn new(
        user: Option<(String, String)>,
        memory: LoginMemory,
        is_encrypted: bool,
    ) -> Self {
        Self {
            user,
            memory,
            scheme: None,
            answers: 0,
            warned: false,
            is_encrypted,
        }
    }

    /// The value of `Authorization` for a request, once the camera has asked.
    pub(crate) fn authorization(&mut self, method: &str, uri: &str) -> Option<Vec<u8>> {
        let (user, password) = self.user.as_ref()?;
        match self.scheme.as_mut()? {
            Scheme::Basic => Some(
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into_bytes(),
            ),
            Scheme::Digest(digest) => {
                let nonce = Uuid::new_v4().simple().to_string();
                digest.answer(
                    &Asking {
                        user,
                        password,
                        method,
                        uri,
                    },
                    &nonce,
                )
            }
        }
    }

    /// The camera asks (`WWW-Authenticate`): the request is to be sent again.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn challenged(&mut self, challenges: Option<&[u8]>) -> Result<(), Refusal> {
        if self.user.is_none() || self.answers >= ANSWERS_MAX {
            return Err(Refusal::Credentials);
        }
        let challenges = challenge::parse(challenges.ok_or(Refusal::Scheme)?);
        let digest = challenges.iter().find_map(Digest::of).map(Scheme::Digest);
        let basic = || {
            challenges
                .iter()
                .any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"))
        };
        let scheme = digest
            .or_else(|| basic().then_some(Scheme::Basic))
            .ok_or(Refusal::Scheme)?;
        match scheme {
            Scheme::Digest(_) => self.memory.0.store(true, Relaxed),
            // Basic answers are all the same.
            Scheme::Basic if self.answers > 0 => return Err(Refusal::Credentials),
            Scheme::Basic if self.memory.0.load(Relaxed) => return Err(Refusal::Downgrade),
            Scheme::Basic if !self.is_encrypted && !std::mem::replace(&mut self.warned, true) => {
                tracing::warn!(
                    "the camera asks for its password in clear (Basic) over a connection that is \
                     not encrypted; set it to Digest, or use rtsps://"
                );
            }
            Scheme::Basic => {}
        }
        self.scheme = Some(scheme);
        self.answers += 1;
        Ok(())
    }

    /// The camera accepted a request.
    pub(crate) fn accepted(&mut self) {
        self.answers = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &[u8] = b"Digest realm=\"cam\", nonce=\"abc\"";
    const BASIC: &[u8] = b"Basic realm=\"cam\"";

    fn login(memory: &LoginMemory) -> Login {
        Login::new(
            Some(("user".to_owned(), "secret".to_owned())),
            memory.clone(),
            false,
        )
    }

    #[test]
    fn nothing_is_sent_before_the_camera_asks() {
        let mut login = login(&LoginMemory::default());
        assert_eq!(login.authorization("DESCRIBE", "rtsp://cam/1"), None);
        assert_eq!(login.challenged(Some(BASIC)), Ok(()));
        let answer = login.authorization("DESCRIBE", "rtsp://cam/1");
        assert_eq!(answer.as_deref(), Some(&b"Basic dXNlcjpzZWNyZXQ="[..]));
    }

    #[test]
    fn digest_is_preferred_and_basic_refused_after_it() {
        let memory = LoginMemory::default();
        let mut first = login(&memory);
        assert_eq!(
            first.challenged(Some(&[BASIC, b", ", DIGEST].concat())),
            Ok(())
        );
        let answer = first.authorization("DESCRIBE", "rtsp://cam/1").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("Digest ") && !answer.contains("secret"));
        assert_eq!(
            login(&memory).challenged(Some(BASIC)),
            Err(Refusal::Downgrade)
        );
    }

    #[test]
    fn answers_that_are_not_accepted_are_not_repeated() {
        let mut digest = login(&LoginMemory::default());
        let asked: Vec<_> = (0..3).map(|_| digest.challenged(Some(DIGEST))).collect();
        assert_eq!(asked, [Ok(()), Ok(()), Err(Refusal::Credentials)]);
        digest.accepted();
        assert_eq!(
            digest.challenged(Some(DIGEST)),
            Ok(()),
            "a nonce that has run out"
        );
        let mut basic = login(&LoginMemory::default());
        let asked: Vec<_> = (0..2).map(|_| basic.challenged(Some(BASIC))).collect();
        assert_eq!(asked, [Ok(()), Err(Refusal::Credentials)]);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let memory = LoginMemory::default();
        let mut stranger = Login::new(None, memory.clone(), false);
        assert_eq!(stranger.challenged(Some(DIGEST)), Err(Refusal::Credentials));
        for challenge in [None, Some(""), Some("Negotiate abc"), Some("\"")] {
            let bytes = challenge.map(str::as_bytes);
            assert_eq!(
                login(&memory).challenged(bytes),
                Err(Refusal::Scheme),
                "{challenge:?}"
            );
        }
    }
}
