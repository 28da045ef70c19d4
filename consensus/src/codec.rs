//! Versions of everything that is stored or sent between nodes: a version byte, then postcard.
//!
//! A type that changes gets the next version. Its previous version stays as a separate type, named
//! as [`Format::Previous`], and is migrated when it is read. Data of a newer version is refused: it
//! may contain what this version would drop. A tighter limit is a change too, because decoding
//! checks limits.
//!
//! [`CLUSTER_VERSION`] is independent of these: it says which commands a node understands, and the
//! leader uses a command only once all members understand it ([`crate::state`]).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What this build understands: the newest commands of the log, and the newest format of each
/// message.
pub const CLUSTER_VERSION: u16 = 1;

/// A type that is stored or sent, with its own version.
pub trait Format: Serialize + DeserializeOwned {
    /// The name in error messages.
    const NAME: &'static str;
    /// The version in which this type is written.
    const VERSION: u8 = 1;
    /// The type of version `VERSION - 1`.
    type Previous: Format;

    fn migrate(previous: Self::Previous) -> Self;

    /// Reads the body of `version`, which is not newer than [`Self::VERSION`].
    ///
    /// # Errors
    /// See [`CodecError`].
    fn read(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        if version < Self::VERSION {
            return Self::Previous::read(version, body).map(Self::migrate);
        }
        let damaged = |error: postcard::Error| CodecError::Damaged {
            what: Self::NAME,
            why: error.to_string(),
        };
        match postcard::take_from_bytes(body).map_err(damaged)? {
            (value, []) => Ok(value),
            (_, rest) => Err(CodecError::Damaged {
                what: Self::NAME,
                why: format!("{} bytes are left over", rest.len()),
            }),
        }
    }
}

/// The predecessor of a first version: there is none.
#[derive(Debug, Serialize, Deserialize)]
pub enum Nothing {}

impl Format for Nothing {
    const NAME: &'static str = "nothing";
    type Previous = Self;

    fn migrate(previous: Self) -> Self {
        previous
    }

    fn read(version: u8, _: &[u8]) -> Result<Self, CodecError> {
        Err(CodecError::Unknown { version })
    }
}

/// Why bytes could not be read, or a value could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error(
        "this node speaks version {known} of {what}, and this is version {version}; upgrade this \
         node"
    )]
    Newer {
        what: &'static str,
        version: u8,
        known: u8,
    },
    #[error("no version {version} was ever written; the bytes are damaged, or of another program")]
    Unknown { version: u8 },
    #[error("{what} cannot be read ({why}); the bytes are damaged")]
    Damaged { what: &'static str, why: String },
    #[error("{what} cannot be written: {why}")]
    Unwritable { what: &'static str, why: String },
}

/// # Errors
/// [`CodecError::Unwritable`]: postcard cannot represent the value, which is a bug.
pub fn encode<T: Format>(value: &T) -> Result<Vec<u8>, CodecError> {
    let unwritable = |error: postcard::Error| CodecError::Unwritable {
        what: T::NAME,
        why: error.to_string(),
    };
    postcard::to_extend(value, vec![T::VERSION]).map_err(unwritable)
}

/// # Errors
/// See [`CodecError`].
pub fn decode<T: Format>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Damaged {
            what: T::NAME,
            why: "it is empty".to_owned(),
        }),
        Some((version, _)) if *version > T::VERSION => Err(CodecError::Newer {
            what: T::NAME,
            version: *version,
            known: T::VERSION,
        }),
        Some((version, body)) => T::read(*version, body),
    }
}

/// Reads the first value that [`encode`] wrote, and returns the bytes after it. Only for types that
/// never had another version.
///
/// # Errors
/// See [`CodecError`].
pub(crate) fn decode_first<T: Format<Previous = Nothing>>(
    bytes: &[u8],
) -> Result<(T, &[u8]), CodecError> {
    let damaged = |why: String| CodecError::Damaged { what: T::NAME, why };
    match bytes.split_first() {
        None => Err(damaged("it is empty".to_owned())),
        Some((version, body)) if *version == T::VERSION => {
            postcard::take_from_bytes(body).map_err(|error| damaged(error.to_string()))
        }
        Some((version, _)) if *version > T::VERSION => Err(CodecError::Newer {
            what: T::NAME,
            version: *version,
            known: T::VERSION,
        }),
        Some((version, _)) => Err(CodecError::Unknown { version: *version }),
    }
}

/// Declares types that have one version so far.
#[macro_export]
macro_rules! first_version {
    ($($type:ty => $name:literal),+ $(,)?) => {
        $(impl $crate::codec::Format for $type {
            const NAME: &'static str = $name;
            type Previous = $crate::codec::Nothing;

            fn migrate(previous: Self::Previous) -> Self {
                match previous {}
            }
        })+
    };
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;

    /// Three versions of one message, the first of them only for this test.
    #[derive(Serialize, Deserialize)]
    struct Zero {
        name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One {
        name: String,
        priority: u8,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        priority: u8,
        names: Vec<String>,
    }

    impl Format for Zero {
        const NAME: &'static str = "the camera";
        const VERSION: u8 = 0;
        type Previous = Nothing;

        fn migrate(previous: Nothing) -> Self {
            match previous {}
        }
    }

    impl Format for One {
        const NAME: &'static str = "the camera";
        type Previous = Zero;

        fn migrate(Zero { name }: Zero) -> Self {
            Self {
                name,
                priority: 100,
            }
        }
    }

    impl Format for Two {
        const NAME: &'static str = "the camera";
        const VERSION: u8 = 2;
        type Previous = One;

        fn migrate(One { name, priority }: One) -> Self {
            Self {
                priority,
                names: vec![name],
            }
        }
    }

    #[test]
    fn what_earlier_versions_wrote_is_migrated_step_by_step() {
        let zero = encode(&Zero {
            name: "gate".into(),
        })
        .unwrap();
        assert_eq!(
            decode::<One>(&zero),
            Ok(One {
                name: "gate".into(),
                priority: 100
            })
        );
        assert_eq!(
            decode::<Two>(&zero),
            Ok(Two {
                priority: 100,
                names: vec!["gate".into()]
            })
        );
        let one = encode(&One {
            name: "gate".into(),
            priority: 7,
        })
        .unwrap();
        assert_eq!(
            decode::<Two>(&one),
            Ok(Two {
                priority: 7,
                names: vec!["gate".into()]
            })
        );
    }

    #[test]
    fn a_newer_version_is_refused_in_clear_words() {
        let two = encode(&Two {
            priority: 7,
            names: vec!["gate".into()],
        })
        .unwrap();
        let error = decode::<One>(&two).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this node speaks version 1 of the camera, and this is version 2; upgrade this node"
        );
    }

    #[test]
    fn bytes_that_are_cut_too_long_or_of_no_version_are_refused() {
        let two = encode(&Two {
            priority: 7,
            names: vec!["gate".into()],
        })
        .unwrap();
        for cut in 0..two.len() {
            assert!(
                matches!(decode::<Two>(&two[..cut]), Err(CodecError::Damaged { .. })),
                "{cut}"
            );
        }
        assert!(matches!(
            decode::<Two>(&[&two[..], &[0]].concat()),
            Err(CodecError::Damaged { .. })
        ));
        first_version!(Third => "the third");
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Third;
        assert_eq!(
            decode::<Third>(&[0]),
            Err(CodecError::Unknown { version: 0 })
        );
    }
}
