//! NAL units with start codes between them (ITU-T H.264, annex B; H.265, annex B), which some
//! cameras send where a single NAL unit belongs. Pure.

use memchr::memmem;

const START_CODE: &[u8] = &[0, 0, 1];

/// The NAL units of `bytes`: all of it if it holds no start code. Zero bytes before a start code
/// belong to it (`leading_zero_8bits`, `zero_byte`, `trailing_zero_8bits`).
pub(super) fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let from = rest?;
            let nal = match memmem::find(from, START_CODE) {
                Some(at) => {
                    rest = Some(&from[at + START_CODE.len()..]);
                    without_trailing_zeros(&from[..at])
                }
                None => {
                    rest = None;
                    from
                }
            };
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

/// Whether `bytes` hold a start code.
pub(super) fn has_start_code(bytes: &[u8]) -> bool {
    memmem::find(bytes, START_CODE).is_some()
}

fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let end = nal
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &nal[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_of_either_length_part_nal_units() {
        let split = |bytes| split(bytes).collect::<Vec<_>>();
        assert_eq!(split(&[0x65, 1, 2]), [[0x65, 1, 2]]);
        assert_eq!(
            split(&[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2]),
            [[0x67, 1], [0x68, 2]]
        );
        assert_eq!(
            split(&[0x67, 1, 0, 0, 0, 0, 1, 0x68, 2, 0]),
            [&[0x67, 1][..], &[0x68, 2, 0]]
        );
        assert_eq!(split(&[0, 0, 1, 0, 0, 1]), Vec::<&[u8]>::new());
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_zeros_and_start_codes_is_left_out(
            bytes in proptest::collection::vec(0_u8..4, 0..64),
        ) {
            let sum: usize = split(&bytes).map(<[u8]>::len).sum();
            proptest::prop_assert!(sum <= bytes.len());
            for nal in split(&bytes) {
                proptest::prop_assert!(!has_start_code(nal));
            }
        }
    }
}
