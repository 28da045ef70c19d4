//! One table for each group of oddities: name, behaviour, and source of the report.

/// Makes an enum from a table. The external name of a variant is its own in kebab-case.
macro_rules! kinds {
    ($(#[$outer:meta])* $name:ident { $($variant:ident: $about:literal, $source:literal;)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $about] $variant),+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// One line: the behaviour of the camera.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about),+ }
            }

            /// Where such a camera was found, or the clause that it stretches.
            #[must_use]
            pub fn source(self) -> &'static str {
                match self { $(Self::$variant => $source),+ }
            }

            /// The name in scenarios and on the command line.
            #[must_use]
            pub fn name(self) -> String {
                $crate::oddity::kinds::kebab(match self {
                    $(Self::$variant => stringify!($variant)),+
                })
            }
        }
    };
}

pub(crate) use kinds;

/// `SetupSsrcLies` is `setup-ssrc-lies`.
pub(crate) fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}
