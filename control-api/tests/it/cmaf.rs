//! Inits and chunks of every codec, as re_mp4 and ffmpeg see them.

use crate::support::clip::{self, Clip};
use crate::support::ffmpeg;
use holdfast_storage::chunk::AccessPoint;
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::AudioCodec;
use holdfast_storage::cmaf::{init, probe};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

/// The clip as one file of our chunks, ten frames each.
fn file(clip: &Clip) -> Vec<u8> {
    let mut file = clip.init.to_vec();
    for (index, frames) in clip.frames.chunks(10).enumerate() {
        file.extend(
            build_chunk(clip.track, index as u32, Timestamp(0), frames)
                .unwrap()
                .concat(),
        );
    }
    file
}

#[test]
fn ffmpeg_decodes_every_frame_of_every_codec() {
    if !ffmpeg::is_there() {
        return;
    }
    let clips = [
        ("v:0", clip::h264("320x180", 2, 0)),
        ("v:0", clip::h264("320x180", 2, 2)),
        ("v:0", clip::h265("320x180", 2)),
        ("a:0", clip::aac(44_100, 2)),
        ("a:0", clip::g711(AudioCodec::PcmAlaw, 2)),
        ("a:0", clip::g711(AudioCodec::PcmUlaw, 2)),
    ];
    for (stream, clip) in clips {
        let bytes = file(&clip);
        ffmpeg::bytes_decode(&bytes);
        assert_eq!(ffmpeg::decoded_frames(&bytes, stream), clip.frames.len());
    }
}

#[test]
fn re_mp4_reads_frames_where_we_wrote_them() {
    if !ffmpeg::is_there() {
        return;
    }
    let clip = clip::h264("320x180", 1, 2);
    let bytes = file(&clip);
    let parsed = re_mp4::Mp4::read_bytes(&bytes).unwrap();
    let track = &parsed.tracks()[&TrackKind::Video.track_id()];
    assert_eq!(
        (track.timescale, track.width, track.height),
        (u64::from(init::VIDEO_TIMESCALE), 320, 180)
    );
    assert_eq!(track.samples.len(), clip.frames.len());
    for (sample, frame) in track.samples.iter().zip(&clip.frames) {
        let at = sample.offset as usize;
        assert_eq!(&bytes[at..at + sample.size as usize], &frame.data[..]);
        assert_eq!(
            (sample.decode_timestamp as u64, sample.is_sync),
            (frame.decode_time, frame.access == Some(AccessPoint::Sync))
        );
        assert_eq!(
            sample.composition_timestamp - sample.decode_timestamp,
            i64::from(frame.composition_offset)
        );
    }
}

/// A gradual refresh and an open GOP are no sync samples: players must not treat them as IDR
/// pictures, and a decoder finds them by their SEI.
#[test]
fn access_points_that_are_no_sync_samples_are_decoded_and_not_flagged_as_such() {
    if !ffmpeg::is_there() {
        return;
    }
    for gradual in [true, false] {
        let clip = clip::h264_without_idr("320x180", 4, gradual);
        let points: Vec<usize> = (0..clip.frames.len())
            .filter(|index| clip.frames[*index].access.is_some())
            .collect();
        assert!(points.len() >= 4, "{points:?}");
        let bytes = file(&clip);
        ffmpeg::bytes_decode(&bytes);
        assert_eq!(ffmpeg::decoded_frames(&bytes, "v:0"), clip.frames.len());
        let flags = ffmpeg::packet_flags(&bytes);
        let sync: Vec<usize> = (0..flags.len())
            .filter(|index| flags[*index].starts_with('K'))
            .collect();
        assert_eq!((flags.len(), sync), (clip.frames.len(), vec![0]));
        let parsed = re_mp4::Mp4::read_bytes(&bytes).unwrap();
        let samples = &parsed.tracks()[&TrackKind::Video.track_id()].samples;
        assert_eq!(samples.iter().filter(|sample| sample.is_sync).count(), 1);
        // Playback can begin at any of them.
        for point in &points[1..] {
            let (frames, init) = (clip.frames[*point..].to_vec(), clip.init.clone());
            let from_there = file(&Clip {
                frames,
                init,
                ..clip
            });
            let (shown, said) = ffmpeg::concealed_frames(&from_there);
            assert!(shown > 0, "from frame {point}: {said}");
        }
    }
}

#[test]
fn our_probe_and_re_mp4_agree() {
    let frame = |index: u64| Frame {
        data: vec![index as u8; 3 + index as usize].into(),
        decode_time: 100 + index * 3003,
        duration: 3003,
        composition_offset: if index.is_multiple_of(2) { 0 } else { -1500 },
        access: (index == 0).then_some(AccessPoint::Sync),
    };
    let frames: Vec<_> = (0..5).map(frame).collect();
    let avcc = vec![1, 0x64, 0, 30, 0xff, 0xe0, 0];
    let codec = init::VideoCodec::Avc { avcc };
    let header = init::video_init(&init::VideoParameters {
        codec,
        width: 64,
        height: 48,
        pixel_aspect: None,
    })
    .unwrap();
    let chunk = build_chunk(TrackKind::Video, 0, Timestamp(0), &frames)
        .unwrap()
        .concat();
    let file = [&header[..], &chunk].concat();
    let parsed = re_mp4::Mp4::read_bytes(&file).unwrap();
    let theirs = &parsed.tracks()[&TrackKind::Video.track_id()].samples;
    let ours = probe::samples(&chunk).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(
            (ours.offset + header.len(), ours.size),
            (theirs.offset as usize, theirs.size as usize)
        );
        assert_eq!(
            (ours.decode_time as i64, ours.is_sync),
            (theirs.decode_timestamp, theirs.is_sync)
        );
    }
}
