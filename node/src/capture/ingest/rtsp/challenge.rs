//! The challenges of a `WWW-Authenticate` (RFC 7235, 4.1), byte for byte as the camera sent them.
//! Pure.
//!
//! http-auth parses them and takes ASCII alone, so other bytes go through it in disguise: `~` and
//! two hexadecimal digits.

use http_auth::parser::ChallengeParser;

/// Challenges that are looked at.
const CHALLENGES_MAX: usize = 16;
const DISGUISE: u8 = b'~';

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, Vec<u8>)>,
}

impl Challenge {
    /// The value of a parameter, without quotes and escapes; the first one of the name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        let mut named = self
            .parameters
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_slice())
    }
}

/// The challenges up to the first that cannot be read.
pub(crate) fn parse(value: &[u8]) -> Vec<Challenge> {
    let disguised = disguised(value);
    let challenges = ChallengeParser::new(&disguised)
        .map_while(Result::ok)
        .take(CHALLENGES_MAX);
    let own = challenges.map(|challenge| Challenge {
        scheme: challenge.scheme.to_owned(),
        parameters: challenge
            .params
            .iter()
            .map(|(name, value)| {
                (
                    (*name).to_owned(),
                    undisguised(value.to_unescaped().as_bytes()),
                )
            })
            .collect(),
    });
    own.collect()
}

fn disguised(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii() && *byte != DISGUISE {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("{}{byte:02x}", char::from(DISGUISE)));
        }
    }
    text
}

fn undisguised(mut bytes: &[u8]) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let byte = match rest {
            [high, low, ..] if *first == DISGUISE => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte.and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_are_parted_and_their_bytes_kept() {
        let value =
            b"Digest realm=\"S\xfcd, ~41\", nonce=a\xc3\xbc, Basic realm=\"x\\\"y\", Negotiate";
        let found = parse(value);
        assert_eq!(
            found
                .iter()
                .map(|challenge| challenge.scheme.as_str())
                .collect::<Vec<_>>(),
            ["Digest", "Basic", "Negotiate"]
        );
        assert_eq!(found[0].get("REALM"), Some(&b"S\xfcd, ~41"[..]));
        assert_eq!(found[0].get("nonce"), Some(&b"a\xc3\xbc"[..]));
        assert_eq!(found[1].get("realm"), Some(&b"x\"y"[..]));
        assert_eq!(found[2].get("realm"), None);
        assert_eq!(parse(b"\""), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_disguised_and_come_back(bytes: Vec<u8>) {
            let disguised = disguised(&bytes);
            proptest::prop_assert!(disguised.is_ascii());
            proptest::prop_assert_eq!(undisguised(disguised.as_bytes()), bytes);
        }

        #[test]
        fn any_bytes_are_challenges_or_none(bytes: Vec<u8>) {
            proptest::prop_assert!(parse(&bytes).len() <= CHALLENGES_MAX);
        }
    }
}
