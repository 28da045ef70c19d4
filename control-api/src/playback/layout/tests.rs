//! Files are laid out from the catalogue alone, and every part of a file equals the same part of
//! the whole.

use super::*;
use crate::playback::testing::session;
use holdfast_storage::chunk::InitId;
use holdfast_storage::cmaf::init::{VideoCodec, VideoParameters, video_init};
use holdfast_storage::cmaf::merge::merge_inits;
use holdfast_storage::ids::TrackKind::Video;
use holdfast_storage::time::Timestamp;
use mp4_atom::{Decode, Ftyp, Moov, Sidx};
use proptest::prelude::*;

fn placer() -> (Placer, InitId) {
    let codec = VideoCodec::Avc {
        avcc: vec![1, 0x64, 0, 30, 0xff, 0xe0, 0],
    };
    let video = video_init(&VideoParameters {
        codec,
        width: 640,
        height: 360,
        pixel_aspect: None,
    })
    .unwrap();
    let init = InitId::of(&video);
    (
        Placer::in_frames(
            Timestamp(0),
            merge_inits(&[(init, video)], &[]).unwrap(),
            Some(40_000_000),
        ),
        init,
    )
}

fn chunks(letters: &str, payload_bytes: u32) -> Vec<ChunkEntry> {
    let mut chunks = session(1, Video, 1, 0, letters);
    for (number, chunk) in (0..).zip(&mut chunks) {
        (chunk.meta.init, chunk.location.payload_bytes) = (placer().1, payload_bytes + number);
    }
    chunks
}

fn file(letters: &str, payload_bytes: u32) -> Layout {
    Layout::of_file(chunks(letters, payload_bytes), placer().0, 0).unwrap()
}

#[test]
fn a_file_says_how_long_it_is_in_time_and_bytes_before_anything_was_read() {
    let layout = file("KdKdKd", 100);
    let mut head = &layout.head[..];
    Ftyp::decode(&mut head).unwrap();
    let moov = Moov::decode(&mut head).unwrap();
    let mehd = moov.mvex.unwrap().mehd.unwrap();
    let (track, media) = (&moov.trak[0].tkhd, &moov.trak[0].mdia.mdhd);
    assert_eq!(
        [
            moov.mvhd.duration,
            mehd.fragment_duration,
            track.duration,
            media.duration
        ],
        [3000, 3000, 3000, 270_000]
    );
    let index = Sidx::decode(&mut head).unwrap();
    assert!(head.is_empty(), "the index is right before what it is of");
    let listed: Vec<_> = index
        .references
        .iter()
        .map(|one| (one.referenced_size, one.subsegment_duration))
        .collect();
    assert_eq!(listed, [(201, 90_000), (205, 90_000), (209, 90_000)]);
    assert_eq!(layout.bytes(), layout.head.len() as u64 + 615);
}

#[test]
fn a_file_that_is_shown_later_is_as_long_as_what_is_shown() {
    let layout = Layout::of_file(chunks("KdKdKd", 100), placer().0, 2_000_000).unwrap();
    let mut head = &layout.head[..];
    Ftyp::decode(&mut head).unwrap();
    let moov = Moov::decode(&mut head).unwrap();
    assert_eq!(
        (moov.mvhd.duration, moov.trak[0].mdia.mdhd.duration),
        (1000, 270_000)
    );
}

#[test]
fn other_footage_has_another_tag_and_the_same_has_the_same() {
    let tag = file("KdKdKd", 100).tag();
    assert_eq!(tag, file("KdKdKd", 100).tag());
    assert_ne!(tag, file("KdKdK", 100).tag());
    assert_ne!(tag, file("KdKdKd", 101).tag());
    let mut other = chunks("KdKdKd", 100);
    other[3].meta.session.0 += 1;
    assert_ne!(tag, Layout::of_file(other, placer().0, 0).unwrap().tag());
    assert!(tag.starts_with('"') && tag.ends_with('"'), "strong");
}

#[test]
fn an_index_of_many_hours_has_as_many_parts_as_fit() {
    let layout = file(&"K".repeat(40_000), 100);
    let mut head = &layout.head[..];
    Ftyp::decode(&mut head).unwrap();
    Moov::decode(&mut head).unwrap();
    let index = Sidx::decode(&mut head).unwrap();
    assert!(
        (2000..=PARTS_MAX).contains(&index.references.len()),
        "{}",
        index.references.len()
    );
    let listed: u64 = index
        .references
        .iter()
        .map(|one| u64::from(one.referenced_size))
        .sum();
    assert_eq!(layout.head.len() as u64 + listed, layout.bytes());
}

#[test]
fn a_part_is_cut_before_its_length_does_not_fit() {
    let layout = file(&format!("K{}", "d".repeat(5)), 700 << 20);
    let mut head = &layout.head[..];
    Ftyp::decode(&mut head).unwrap();
    Moov::decode(&mut head).unwrap();
    let index = Sidx::decode(&mut head).unwrap();
    assert_eq!(index.references.len(), 6);
    assert_eq!(
        index
            .references
            .iter()
            .map(|one| one.starts_with_sap)
            .collect::<Vec<_>>(),
        [true, false, false, false, false, false]
    );
}

#[test]
fn what_refers_to_what_may_be_lost_is_made_from_its_access_point_on() {
    let layout = file("KdddKddd", 1000);
    let at = layout.ends[5] + 10;
    let cut = |gops| layout.clone().cut(at..at + 20, gops);
    assert_eq!((cut(false).slots[0].number, cut(false).skip), (7, 10));
    assert_eq!(
        (cut(true).slots[0].number, cut(true).skip),
        (5, 1004 + 1005 + 10)
    );
}

#[test]
fn a_free_box_is_as_long_as_what_it_stands_for() {
    assert_eq!(
        free_box(12).unwrap(),
        [0, 0, 0, 12, b'f', b'r', b'e', b'e', 0, 0, 0, 0]
    );
    assert_eq!((free_box(7), free_box(1 << 33)), (None, None));
}

#[test]
fn a_part_deep_in_a_long_gop_reads_back_no_further_than_is_near() {
    // One access point, then chunks of 16 MiB that refer to it.
    let layout = file("Kddddddddddd", 16 << 20);
    for strict in [false, true] {
        let cut = layout
            .clone()
            .cut(layout.bytes() - 1..layout.bytes(), strict);
        assert_eq!(cut.slots.len(), 1, "strict: {strict}");
        let near = layout.clone().cut(32 << 20..33 << 20, strict);
        assert!(
            near.slots[0].number == 1 && near.skip > 16 << 20,
            "strict: {strict}"
        );
    }
}

proptest! {
    #[test]
    fn the_parts_of_a_file_are_the_file(
        letters in "K[Kd]{0,12}",
        from in 0u64..3000,
        bytes in 0u64..3000,
    ) {
        let layout = file(&letters, 100);
        let range = from.min(layout.bytes())..(from + bytes).min(layout.bytes());
        let all = layout.clone().cut(0..layout.bytes(), false);
        // As if each byte of a chunk were its number.
        let rendered = |cut: &Cut| -> Vec<u32> {
            let chunks = cut
                .slots
                .iter()
                .flat_map(|slot| std::iter::repeat_n(slot.number, slot.bytes as usize));
            let head = cut.head.iter().map(|_| 0);
            head.chain(chunks.skip(cut.skip as usize).take(cut.bytes as usize)).collect()
        };
        let part = layout.clone().cut(range.clone(), false);
        prop_assert_eq!(part.chunks.len(), part.slots.len());
        prop_assert_eq!(rendered(&all).len() as u64, layout.bytes());
        prop_assert_eq!(
            rendered(&part),
            rendered(&all)[range.start as usize..range.end as usize].to_vec()
        );
        let wanted: usize = part.slots.iter().map(|slot| slot.bytes as usize).sum();
        prop_assert!(
            wanted as u64 <= part.skip + part.bytes + 113,
            "nothing is read beyond what is asked for"
        );
        prop_assert!(part.skip <= READ_BACK_BYTES_MAX, "nor far before it");
    }
}
