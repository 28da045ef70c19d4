//! Versions of everything that is stored or sent between nodes: a version byte, then postcard.
//!
//! A type that changes gets the next version. Its previous version stays as a separate type, named
//! as [`Format::Previous`], and is migrated when it is read. Data of a newer version is refused: it
//! may contain what this version would drop. A tighter limit is a change too, because decoding
//! checks limits.
//!
//! A new version is not written before the cluster's version that introduced it is finalised
//! ([`Finalized`]): until then every member's data and messages can be read by the program that it
//! ran before the upgrade.
//!
//! [`CLUSTER_VERSION`] counts the releases that differ in commands or formats: it says which of
//! them a node understands. The leader uses a command only once all members understand it
//! ([`crate::state`]).

mod finalized;

pub use finalized::Finalized;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What this build understands: the newest commands of the log, and the newest format of each
/// message.
pub const CLUSTER_VERSION: u16 = 1;

/// A type that is stored or sent, with its own version.
pub trait Format: Serialize + DeserializeOwned {
    /// The name in error messages.
    const NAME: &'static str;
    const VERSION: u8 = 1;
    /// The version of the cluster that introduced [`Self::VERSION`]: until it is finalised, the
    /// previous version is written. 0: a first version, written from the beginning.
    const SINCE: u16 = 0;
    /// The type of version `VERSION - 1`.
    type Previous: Format;

    fn migrate(previous: Self::Previous) -> Self;

    /// The way back: what the previous version writes for this value, or `None` if it cannot
    /// represent it.
    ///
    /// What replicas apply or a node stores (the log, the state, the ledger, requests for changes)
    /// must come back unchanged: `migrate(revert(value)) == value`, or `None`. Otherwise replicas
    /// that read it back would differ from those that hold it in memory. A message that only
    /// reports may leave out what the previous version has no place for.
    ///
    /// `None` is only for a value that cannot exist before [`Self::SINCE`] is finalised: the
    /// command that it is or comes from is refused until then
    /// ([`crate::command::Command::since`]). A node whose log lags behind can have such a value
    /// before it sees the finalisation. The value itself is the proof then, and is written in the
    /// version that can represent it: an error would end this node's Raft.
    fn revert(&self) -> Option<Self::Previous>;

    /// Writes the newest version that `finalized` permits.
    ///
    /// # Errors
    /// [`CodecError::Unwritable`]: postcard cannot represent the value, which is a bug.
    fn write(&self, finalized: &Finalized) -> Result<Vec<u8>, CodecError> {
        const {
            assert!(
                Self::VERSION <= 1 || Self::SINCE > 1 && Self::SINCE > Self::Previous::SINCE,
                "a later version of a format is introduced by a later version of the cluster"
            );
        }
        // A constant decides for a first version: it costs nothing.
        if Self::SINCE > 0
            && finalized.version() < Self::SINCE
            && let Some(previous) = self.revert()
        {
            return previous.write(finalized);
        }
        let unwritable = |error: postcard::Error| CodecError::Unwritable {
            what: Self::NAME,
            why: error.to_string(),
        };
        postcard::to_extend(self, vec![Self::VERSION]).map_err(unwritable)
    }

    /// Reads the body of `version`, which is not newer than [`Self::VERSION`], and returns the
    /// bytes after it.
    ///
    /// # Errors
    /// See [`CodecError`].
    fn read(version: u8, body: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        if version < Self::VERSION {
            let (previous, rest) = Self::Previous::read(version, body)?;
            return Ok((Self::migrate(previous), rest));
        }
        postcard::take_from_bytes(body).map_err(|error| CodecError::Damaged {
            what: Self::NAME,
            why: error.to_string(),
        })
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

    fn revert(&self) -> Option<Self> {
        match *self {}
    }

    fn read(version: u8, _: &[u8]) -> Result<(Self, &[u8]), CodecError> {
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

/// The value in the newest version that `finalized` permits.
///
/// # Errors
/// [`CodecError::Unwritable`]: postcard cannot represent the value, which is a bug.
pub fn encode<T: Format>(value: &T, finalized: &Finalized) -> Result<Vec<u8>, CodecError> {
    value.write(finalized)
}

/// # Errors
/// See [`CodecError`].
pub fn decode<T: Format>(bytes: &[u8]) -> Result<T, CodecError> {
    match decode_first(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(CodecError::Damaged {
            what: T::NAME,
            why: format!("{} bytes are left over", rest.len()),
        }),
    }
}

/// Reads the first value that [`encode`] wrote, and returns the bytes after it.
///
/// # Errors
/// See [`CodecError`].
pub(crate) fn decode_first<T: Format>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
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

            fn revert(&self) -> Option<Self::Previous> {
                None
            }
        })+
    };
}

/// This crate's formats are declared with this, so that in its unit tests they have a second
/// version ([`upgrade`]).
#[cfg(not(test))]
pub(crate) use first_version;
#[cfg(test)]
pub(crate) use upgrade::two_versions as first_version;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod upgrade;

#[cfg(test)]
mod tests {
    use super::*;

    /// Three versions of one message.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
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

        fn revert(&self) -> Option<Nothing> {
            None
        }
    }

    impl Format for One {
        const NAME: &'static str = "the camera";
        const SINCE: u16 = 1;
        type Previous = Zero;

        fn migrate(Zero { name }: Zero) -> Self {
            Self {
                name,
                priority: 100,
            }
        }

        fn revert(&self) -> Option<Zero> {
            let name = self.name.clone();
            (self.priority == 100).then_some(Zero { name })
        }
    }

    impl Format for Two {
        const NAME: &'static str = "the camera";
        const VERSION: u8 = 2;
        const SINCE: u16 = 2;
        type Previous = One;

        fn migrate(One { name, priority }: One) -> Self {
            Self {
                priority,
                names: vec![name],
            }
        }

        fn revert(&self) -> Option<One> {
            match &self.names[..] {
                [name] => Some(One {
                    name: name.clone(),
                    priority: self.priority,
                }),
                _ => None,
            }
        }
    }

    fn two(priority: u8, names: &[&str]) -> Two {
        Two {
            priority,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn zero() -> Zero {
        Zero {
            name: "gate".into(),
        }
    }

    fn one(priority: u8) -> One {
        One {
            name: "gate".into(),
            priority,
        }
    }

    fn encoded<T: Format>(value: &T, finalized: u16) -> Vec<u8> {
        encode(value, &Finalized::at(finalized)).unwrap()
    }

    #[test]
    fn what_earlier_versions_wrote_is_migrated_step_by_step() {
        let oldest = encoded(&zero(), 2);
        assert_eq!(decode::<One>(&oldest), Ok(one(100)));
        assert_eq!(decode::<Two>(&oldest), Ok(two(100, &["gate"])));
        assert_eq!(decode::<Two>(&encoded(&one(7), 2)), Ok(two(7, &["gate"])));
    }

    #[test]
    fn until_a_version_is_finalised_the_program_before_it_reads_everything_without_a_loss() {
        let finalized = Finalized::at(1);
        let before = encode(&two(7, &["gate"]), &finalized).unwrap();
        assert_eq!(decode::<One>(&before), Ok(one(7)));
        assert_eq!(before, encoded(&one(7), 1));

        finalized.raise_to(2);
        let after = encode(&two(7, &["gate"]), &finalized).unwrap();
        assert_eq!(
            decode::<One>(&after).unwrap_err().to_string(),
            "this node speaks version 1 of the camera, and this is version 2; upgrade this node"
        );
        // What was written before is read afterwards, and is not written again as it was.
        for bytes in [before, after] {
            assert_eq!(decode::<Two>(&bytes), Ok(two(7, &["gate"])));
        }
        finalized.raise_to(1);
        assert_eq!(encode(&two(7, &["gate"]), &finalized).unwrap()[0], 2);
    }

    #[test]
    fn a_node_that_knows_no_cluster_writes_the_oldest_version() {
        let finalized = Finalized::default();
        let oldest = encode(&two(100, &["gate"]), &finalized).unwrap();
        assert_eq!(decode::<Zero>(&oldest), Ok(zero()));
        assert_eq!(decode::<Two>(&oldest), Ok(two(100, &["gate"])));
    }

    /// As in the log of a follower that has not applied the finalisation yet.
    #[test]
    fn what_an_earlier_version_cannot_represent_is_written_in_the_one_that_can() {
        for (value, version) in [
            (two(100, &["gate"]), 0),
            (two(7, &["gate"]), 1),
            (two(7, &["gate", "yard"]), 2),
        ] {
            let bytes = encoded(&value, 0);
            assert_eq!((bytes[0], decode::<Two>(&bytes)), (version, Ok(value)));
        }
    }

    #[test]
    fn bytes_that_are_cut_too_long_or_of_no_version_are_refused() {
        let two = encoded(&two(7, &["gate"]), 2);
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
        crate::first_version!(Third => "the third");
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Third;
        assert_eq!(
            decode::<Third>(&[0]),
            Err(CodecError::Unknown { version: 0 })
        );
    }

    #[test]
    fn of_values_in_a_row_each_has_its_version() {
        let bytes = [encoded(&one(7), 1), encoded(&two(7, &["a", "b"]), 2)].concat();
        let (first, rest) = decode_first::<Two>(&bytes).unwrap();
        assert_eq!(first, two(7, &["gate"]));
        assert_eq!(
            decode_first::<Two>(rest),
            Ok((two(7, &["a", "b"]), &[][..]))
        );
    }
}
