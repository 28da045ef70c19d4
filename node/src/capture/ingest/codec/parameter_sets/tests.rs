//! Bounds of the kept sets; their use is tested with the streams in `video`.

use super::*;

/// A PPS of H.264 with this id and these bytes behind.
fn picture_set(id: u8, tail: &[u8]) -> Vec<u8> {
    // Exp-Golomb code of `id` in up to 17 bits, then seq_parameter_set_id 0 (1).
    let code = u32::from(id) + 1;
    let bits = 32 - code.leading_zeros();
    let number = u64::from(code) << 1 | 1;
    let length = 2 * bits;
    let aligned = number << (32 - length);
    [&[0x68][..], &(aligned as u32).to_be_bytes(), tail].concat()
}

#[test]
fn ids_are_read() {
    for id in [0, 1, 2, 31, 254, 255] {
        assert_eq!(
            ids(VideoCodec::H264, SetKind::Picture, &picture_set(id, &[])),
            Some((id, 0))
        );
    }
}

#[test]
fn sets_are_bounded_in_length_number_and_sum() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    assert_eq!(
        sets.see(&picture_set(0, &[1; SET_BYTES_MAX])),
        Err(SetError::Oversize)
    );
    assert_eq!(sets.see(&[0x68]), Err(SetError::Malformed));
    let kept = (0..=255)
        .filter(|id| sets.see(&picture_set(*id, &[1; 1000])).is_ok())
        .count();
    assert_eq!(kept, SETS_BYTES_MAX / 1005);
    let again = (0..kept as u8).all(|id| sets.see(&picture_set(id, &[2; 1000])).is_ok());
    assert!(again, "a set replaces the one of its id");
    let mut small = ParameterSets::new(VideoCodec::H264);
    let kept = (0..=255)
        .filter(|id| small.see(&picture_set(*id, &[])).is_ok())
        .count();
    assert_eq!(kept, PICTURE_SETS_MAX);
}

#[test]
fn descriptions_may_hold_several_sets_start_codes_or_nonsense() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    let both = [
        &[0, 0, 0, 1][..],
        &picture_set(3, &[9]),
        &[0, 0, 1],
        &picture_set(4, &[9]),
    ]
    .concat();
    let fmtp = format!(
        "packetization-mode=1;Sprop-Parameter-Sets= {},%%%,{};profile-level-id=42",
        encode(&picture_set(1, &[9])),
        encode(&both)
    );
    sets.read_fmtp(&fmtp);
    let ids: Vec<_> = sets.sets.keys().map(|(_, id)| *id).collect();
    assert_eq!(ids, [1, 3, 4]);
}

#[test]
fn a_picture_set_that_was_never_sent_is_answered_by_the_first() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    assert!(sets.parameters(None, 90_000).is_err());
    sets.see(&picture_set(5, &[9])).unwrap();
    let missing = Undecodable::Missing("sequence parameter set (SPS)");
    assert_eq!(sets.parameters(Some(7), 90_000), Err(missing));
}

proptest::proptest! {
    #[test]
    fn any_fmtp_and_sets_are_taken_or_refused(fmtp: String, nals: Vec<Vec<u8>>, is_h265: bool) {
        let mut sets = ParameterSets::new(if is_h265 {
            VideoCodec::H265
        } else {
            VideoCodec::H264
        });
        sets.read_fmtp(&fmtp);
        for nal in nals {
            let _ = sets.see(&nal);
            let is_any = sets.parameters(None, 90_000).is_ok();
            proptest::prop_assert!(!is_any || !sets.sets.is_empty());
        }
        proptest::prop_assert!(sets.bytes <= SETS_BYTES_MAX);
    }
}
