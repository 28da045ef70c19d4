//! In unit tests each format of this crate has a second version with the same contents, introduced
//! by a version of the cluster that only tests finalise. So they see in which version the real log,
//! snapshot and messages are written.

use super::{CLUSTER_VERSION, Format, Nothing};
use serde::{Deserialize, Serialize};

/// The version of the cluster that introduced the second versions.
pub(crate) const NEXT: u16 = CLUSTER_VERSION + 1;

/// The first version of a format: what a program before the upgrade reads and writes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent, bound = "T: Format")]
pub struct Earlier<T>(pub T);

impl<T: Format> Format for Earlier<T> {
    const NAME: &'static str = T::NAME;
    type Previous = Nothing;

    fn migrate(previous: Nothing) -> Self {
        match previous {}
    }

    fn revert(&self) -> Option<Nothing> {
        None
    }
}

/// Not all formats can be cloned.
pub(crate) fn earlier<T: Format>(value: &T) -> Earlier<T> {
    let bytes = postcard::to_allocvec(value).unwrap();
    Earlier(postcard::from_bytes(&bytes).unwrap())
}

macro_rules! two_versions {
    ($($type:ty => $name:literal),+ $(,)?) => {
        $(impl $crate::codec::Format for $type {
            const NAME: &'static str = $name;
            const VERSION: u8 = 2;
            const SINCE: u16 = $crate::codec::upgrade::NEXT;
            type Previous = $crate::codec::upgrade::Earlier<Self>;

            fn migrate(previous: Self::Previous) -> Self {
                previous.0
            }

            fn revert(&self) -> Option<Self::Previous> {
                Some($crate::codec::upgrade::earlier(self))
            }
        })+
    };
}
pub(crate) use two_versions;
