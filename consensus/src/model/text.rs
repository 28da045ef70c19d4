//! Checked text: the format of a value, and the error that explains it.

use serde::{Deserialize, Serialize};

/// How many characters of a wrong value an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// A value that breaks a rule: the field, its value if it may be shown, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Invalid {
    pub field: String,
    pub why: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }

    /// The same error with the field's name in the user's input.
    #[must_use]
    pub fn named(self, field: &str) -> Self {
        Self {
            field: field.to_owned(),
            ..self
        }
    }

    /// The same error for a field within `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }
}

/// The form of a text. Schemas of the API come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRule {
    /// 1 to `chars_max` characters for people: not only blanks, no control characters.
    ForPeople { chars_max: usize },
    /// At most `bytes_max` bytes without control characters; may be empty.
    Printable { bytes_max: usize },
    /// 1 to `bytes_max` ASCII letters, digits and characters of `also`.
    Identifier {
        bytes_max: usize,
        also: &'static str,
    },
}

impl TextRule {
    /// Returns why `text` breaks it.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::ForPeople { chars_max } => for_people(text, chars_max),
            Self::Printable { bytes_max } => printable(text, bytes_max),
            Self::Identifier { bytes_max, also } => identifier(text, bytes_max, also),
        }
    }
}

/// A string type with one rule: a [`TextRule`], or one with an exception, for which `$check`
/// returns why a text breaks it.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, rule $rule:expr) => {
        $crate::model::text::checked_text!(
            $(#[$doc])* $name, $field, |text| Self::RULE.check(text)
        );

        impl $name {
            pub const RULE: $crate::model::TextRule = $rule;
        }
    };
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize,
            serde::Deserialize,
        )]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::model::Invalid;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> Result<(), String> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(why) => Err($crate::model::Invalid::new($field, why)),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(super) use checked_text;

fn for_people(text: &str, chars_max: usize) -> Result<(), String> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > chars_max || text.chars().any(char::is_control) {
        return Err(format!(
            "is {} ({length} characters); use 1 to {chars_max} characters, not only blanks, \
             without control characters",
            shown(text)
        ));
    }
    Ok(())
}

fn printable(text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(format!(
            "is {} ({} bytes); use at most {bytes_max} bytes without control characters",
            shown(text),
            text.len()
        ));
    }
    Ok(())
}

fn identifier(text: &str, bytes_max: usize, also: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    if text.is_empty() || text.len() > bytes_max || !text.chars().all(is_allowed) {
        let others: Vec<String> = also.chars().map(|c| format!("`{c}`")).collect();
        return Err(format!(
            "is {} ({} bytes); use 1 to {bytes_max} of a-z, A-Z, 0-9, {}",
            shown(text),
            text.len(),
            others.join(", ")
        ));
    }
    Ok(())
}

/// The form in which an error repeats a wrong value.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RetentionClassName;

    #[test]
    fn an_error_names_field_value_and_limit() {
        let error = RetentionClassName::try_from("a b".to_owned()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`retention_class` is \"a b\" (3 bytes); use 1 to 63 of a-z, A-Z, 0-9, `-`, `_`"
        );
        assert_eq!(error.within("camera").field, "camera.retention_class");
        let long = RetentionClassName::try_from("x".repeat(1_000))
            .unwrap_err()
            .to_string();
        assert!(long.contains("1000 bytes") && long.len() < 200, "{long}");
    }

    #[test]
    fn decoding_checks_too() {
        let good = postcard::to_allocvec("a-b").unwrap();
        assert_eq!(
            postcard::from_bytes::<RetentionClassName>(&good)
                .unwrap()
                .as_str(),
            "a-b"
        );
        assert_eq!(
            postcard::to_allocvec(&"a-b".parse::<RetentionClassName>().unwrap()).unwrap(),
            good
        );
        let bad = postcard::to_allocvec("a b").unwrap();
        assert!(postcard::from_bytes::<RetentionClassName>(&bad).is_err());
    }

    #[test]
    fn text_for_people_has_characters_not_bytes() {
        assert_eq!(for_people(&"é".repeat(5), 5), Ok(()));
        for bad in ["", "  ", "a\nb", "éééééé"] {
            assert!(for_people(bad, 5).is_err(), "{bad:?}");
        }
    }
}
