//! The judge's verdicts: correct playback is not blamed, and every error is named with its URI and
//! its frames.

use super::judge::{Aspect, Truth, judge};
use super::media::Init;
use super::*;
use holdfast_camera::{Gap, Sent, Sound, sound};
use holdfast_storage::chunk::{AccessPoint, InitId};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::{
    AudioCodec, AudioParameters, VideoCodec, VideoParameters, audio_init, video_init,
};
use holdfast_storage::cmaf::merge::merge_inits;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

const FRAME_US: i64 = 40_000;
const SOUND_US: i64 = 64_000;
const ENTRY_US: i64 = 2_000_000;
/// Multiples of all three, so that neither frames nor sound straddle the ends.
const RUN_US: i64 = 48_000_000;
const BEGAN_US: i64 = 1_700_000_000_000_000;

fn sent(every_us: i64) -> Vec<Sent> {
    let at = |number: i64| (BEGAN_US + number * every_us).cast_unsigned();
    (0..RUN_US / every_us)
        .map(|number| Sent {
            sequence: number as u64,
            captured_us: at(number),
        })
        .collect()
}

/// The sent frames, and those of them that are not stored.
struct Story {
    video: Vec<Sent>,
    sound: Vec<Sent>,
    lost: Vec<Gap>,
    sound_lost: Vec<Gap>,
    excused: Vec<(i64, i64)>,
    seams: Vec<(i64, i64)>,
}

impl Story {
    fn whole() -> Self {
        let (video, sound) = (sent(FRAME_US), sent(SOUND_US));
        Self {
            video,
            sound,
            lost: Vec::new(),
            sound_lost: Vec::new(),
            excused: Vec::new(),
            seams: Vec::new(),
        }
    }

    /// Entries `from` to `to` are not stored.
    fn with_gap(from: i64, to: i64) -> Self {
        let gap = |every_us: i64| {
            let number =
                |entry: i64| ((entry * ENTRY_US + every_us - 1) / every_us).cast_unsigned();
            Gap {
                from: number(from),
                to: number(to),
                gap_ms: 0,
            }
        };
        Self {
            lost: vec![gap(FRAME_US)],
            sound_lost: vec![gap(SOUND_US)],
            ..Self::whole()
        }
    }

    /// As it should be shown.
    fn shown(&self, kind: Kind) -> Showing {
        let mut media_us = 0;
        let mut entries = Vec::new();
        for number in 0..RUN_US / ENTRY_US {
            let (from, to) = (
                BEGAN_US + number * ENTRY_US,
                BEGAN_US + (number + 1) * ENTRY_US,
            );
            let base_us = if kind == Kind::Closed {
                from - media_us
            } else {
                BEGAN_US
            };
            let of = |all: &[Sent], lost: &[Gap], duration_us: i64| -> Vec<Sample> {
                let is_lost = |sent: &Sent| {
                    lost.iter()
                        .any(|gap| (gap.from..gap.to).contains(&sent.sequence))
                };
                let within = |sent: &&Sent| {
                    (from..to).contains(&sent.captured_us.cast_signed()) && !is_lost(sent)
                };
                let sample = |sent: &Sent| Sample {
                    stamp: Some(Stamp {
                        camera: 7,
                        sequence: sent.sequence,
                        captured_us: sent.captured_us,
                    }),
                    decode_us: sent.captured_us.cast_signed() - base_us,
                    duration_us,
                };
                all.iter().filter(within).map(sample).collect()
            };
            let media = Media {
                video: of(&self.video, &self.lost, FRAME_US),
                sound: of(&self.sound, &self.sound_lost, SOUND_US),
            };
            let has_media = !media.video.is_empty();
            if has_media || kind != Kind::Closed {
                entries.push(Entry {
                    sequence: entries.len() as u64,
                    uri: format!("part{number}.m4s"),
                    wall_us: from,
                    duration_us: ENTRY_US,
                    base_us,
                    media: has_media.then_some(media),
                    fetched_us: to,
                });
                media_us += ENTRY_US;
            }
        }
        Showing {
            camera: "cam07".to_owned(),
            kind,
            asked: "node2".to_owned(),
            from_us: BEGAN_US,
            entries,
            wrong: Vec::new(),
        }
    }

    fn truth(&self) -> Truth<'_> {
        Truth {
            number: 7,
            sent: &self.video,
            lost: &self.lost,
            sound: &self.sound,
            sound_lost: &self.sound_lost,
            from_us: BEGAN_US,
            to_us: BEGAN_US + RUN_US,
            excused: self.excused.clone(),
            seams: self.seams.clone(),
            sends_garbage: false,
            has_honest_times: true,
        }
    }

    /// The judge's verdicts after `change`.
    fn said(&self, kind: Kind, change: impl FnOnce(&mut Vec<Entry>)) -> Vec<(Aspect, String)> {
        let mut showing = self.shown(kind);
        change(&mut showing.entries);
        judge(&showing, &self.truth())
            .into_iter()
            .map(|offence| (offence.aspect, offence.text))
            .collect()
    }
}

const KINDS: [Kind; 4] = [Kind::Closed, Kind::Grown, Kind::Growing, Kind::Live];

fn media(entries: &mut [Entry], at: usize) -> &mut Media {
    entries[at].media.as_mut().unwrap()
}

#[test]
fn nothing_is_said_of_what_is_shown_as_it_was_sent() {
    for kind in KINDS {
        for story in [Story::whole(), Story::with_gap(5, 9), Story::with_gap(0, 2)] {
            assert_eq!(story.said(kind, |_| {}), [], "{kind:?}");
        }
    }
}

#[test]
fn a_dropped_frame_is_named_with_the_segment_that_lacks_it() {
    for kind in KINDS {
        let said = Story::whole().said(kind, |entries| {
            media(entries, 3).video.remove(7);
        });
        let what = "frames 157 to 157 are stored and not shown; part3.m4s";
        let text = format!("cam07, {} of node2: {what}", kind.name());
        assert_eq!(said, [(Aspect::Frames, text)]);
    }
    let said = Story::whole().said(Kind::Closed, |entries| media(entries, 3).video.truncate(20));
    assert!(
        said[0]
            .1
            .contains("frames 170 to 199 are stored and not shown; part3.m4s"),
        "{said:?}"
    );
    let said = Story::whole().said(Kind::Closed, |entries| entries.truncate(1));
    assert!(
        said[0]
            .1
            .contains("frames 50 to 1175 are stored and not shown"),
        "{said:?}"
    );
    let said = Story::whole().said(Kind::Closed, Vec::clear);
    assert!(
        said[0].1.contains("none of the run's frames is shown"),
        "{said:?}"
    );
}

#[test]
fn a_list_that_stops_growing_is_named() {
    for kind in [Kind::Grown, Kind::Growing, Kind::Live] {
        let said = Story::whole().said(kind, |entries| entries.truncate(8));
        let [(Aspect::Frames, text)] = &said[..] else {
            panic!("{kind:?}: {said:?}")
        };
        assert!(
            text.contains("frames 400 to 900 are stored and not shown; part7.m4s"),
            "{text}"
        );
        // Two cells, and the time for which they wait, may not be listed yet.
        assert_eq!(
            Story::whole().said(kind, |entries| entries.truncate(19)),
            [],
            "{kind:?}"
        );
    }
    let at = |entry: i64| BEGAN_US + entry * ENTRY_US;
    let story = Story {
        excused: vec![(at(8), i64::MAX)],
        ..Story::whole()
    };
    assert_eq!(
        story.said(Kind::Growing, |entries| entries.truncate(8)),
        [],
        "its node was held to the end"
    );
}

#[test]
fn a_doubled_chunk_is_named_with_both_segments() {
    for kind in KINDS {
        let said = Story::whole().said(kind, |entries| {
            let again = media(entries, 3).video[40..].to_vec();
            media(entries, 4).video.splice(0..0, again);
        });
        assert!(
            said[0]
                .1
                .ends_with("frame 190 is shown again, after part3.m4s; part4.m4s"),
            "{said:?}"
        );
        assert_eq!(
            said.iter()
                .filter(|(aspect, _)| *aspect == Aspect::Frames)
                .count(),
            10
        );
    }
}

#[test]
fn a_shifted_decode_time_is_named() {
    for kind in KINDS {
        // A whole entry, by more than playlists are rounded.
        let said = Story::whole().said(kind, |entries| {
            let media = media(entries, 3);
            media
                .video
                .iter_mut()
                .chain(&mut media.sound)
                .for_each(|sample| sample.decode_us += 5_000);
        });
        let [(Aspect::Times, text)] = &said[..] else {
            panic!("{kind:?}: {said:?}")
        };
        assert!(
            text.contains("its media begins 5000 us off") && text.ends_with("part3.m4s"),
            "{text}"
        );
        // One frame.
        let back = Story::whole().said(kind, |entries| {
            media(entries, 3).video[9].decode_us -= 50_000
        });
        assert!(
            back[0]
                .1
                .contains("frame 159 after 158: the decode time goes from"),
            "{back:?}"
        );
        // All that comes after it in the entry.
        let on = Story::whole().said(kind, |entries| {
            media(entries, 3).video[9..]
                .iter_mut()
                .for_each(|sample| sample.decode_us += 400_000);
        });
        assert!(
            on[0]
                .1
                .contains("frame 159 after 158: 440000 us later, and was captured 40000 us later"),
            "{on:?}"
        );
    }
}

#[test]
fn times_must_continue_over_a_gap_of_a_closed_range_only() {
    let jumps = |entries: &mut Vec<Entry>| {
        for entry in &mut entries[5..] {
            let media = entry.media.as_mut().unwrap();
            media
                .video
                .iter_mut()
                .chain(&mut media.sound)
                .for_each(|sample| sample.decode_us += 4 * ENTRY_US);
        }
    };
    let said = Story::with_gap(5, 9).said(Kind::Closed, jumps);
    assert!(
        said[0]
            .1
            .contains("its media begins 8000000 us off the 10000000 us"),
        "{said:?}"
    );
}

#[test]
fn frames_of_others_damaged_and_out_of_order_are_named() {
    let said = |change: fn(&mut Media)| {
        Story::whole().said(Kind::Closed, |entries| change(media(entries, 3)))
    };
    let foreign = said(|media| media.video[2].stamp.as_mut().unwrap().camera = 8);
    assert!(
        foreign[0].1.contains("frame 152 is camera 8's; part3.m4s"),
        "{foreign:?}"
    );
    let damaged = said(|media| media.video[2].stamp = None);
    assert!(
        damaged[0]
            .1
            .contains("a frame carries no stamp or is damaged; part3.m4s"),
        "{damaged:?}"
    );
    let swapped = said(|media| media.video.swap(2, 3));
    assert!(
        swapped[0]
            .1
            .contains("frame 152 is shown after 153; part3.m4s"),
        "{swapped:?}"
    );
}

#[test]
fn sound_must_be_as_complete_as_video_at_the_joins_and_with_it() {
    for kind in KINDS {
        let said = |change: fn(&mut Vec<Entry>)| Story::whole().said(kind, change);
        let missing = said(|entries| media(entries, 3).sound.truncate(30));
        let [(Aspect::Sound, text)] = &missing[..] else {
            panic!("{missing:?}")
        };
        assert!(
            text.ends_with("frames of sound 124 to 124 are stored and not shown; part3.m4s"),
            "{text}"
        );
        let twice = said(|entries| {
            let last = *media(entries, 3).sound.last().unwrap();
            media(entries, 4).sound.insert(0, last);
        });
        assert!(
            twice[0]
                .1
                .contains("frame of sound 124 is shown again, after part3.m4s; part4.m4s"),
            "{twice:?}"
        );
        let off = said(|entries| {
            media(entries, 3)
                .sound
                .iter_mut()
                .for_each(|sample| sample.decode_us += 200_000)
        });
        assert!(
            off.iter()
                .any(|(_, text)| text.contains("is 200000 us off frame")),
            "{off:?}"
        );
    }
    let next_to_a_gap = Story::with_gap(5, 9).said(Kind::Closed, |entries| {
        media(entries, 4).sound.pop();
    });
    assert_eq!(next_to_a_gap, [], "one track may end earlier");
}

#[test]
fn at_a_change_of_recorder_two_frames_of_sound_are_excused_and_nothing_else() {
    let at = BEGAN_US + 4 * ENTRY_US;
    let story = Story {
        seams: vec![(at - 1_000_000, at + 1_000_000)],
        ..Story::whole()
    };
    let lost = |frames: usize| {
        story.said(Kind::Closed, |entries| {
            let sound = &mut media(entries, 3).sound;
            sound.truncate(sound.len() - frames);
        })
    };
    assert_eq!((lost(2).len(), lost(3).len()), (0, 1));
    let doubled = |frames: usize| {
        story.said(Kind::Closed, |entries| {
            let again = media(entries, 4).sound[..frames].to_vec();
            media(entries, 3).sound.extend(again);
        })
    };
    let twice = |frames: usize| {
        doubled(frames)
            .iter()
            .filter(|(aspect, _)| *aspect == Aspect::Sound)
            .count()
    };
    assert_eq!((twice(2), twice(3)), (0, 1));
    let off = story.said(Kind::Closed, |entries| {
        media(entries, 4)
            .sound
            .iter_mut()
            .for_each(|sample| sample.decode_us += 170_000);
    });
    assert!(
        off.iter()
            .any(|(_, text)| text.contains("170000 us off frame")),
        "{off:?}"
    );
    assert!(
        off.iter()
            .any(|(_, text)| text.contains("234000 us later, and was captured 64000")),
        "{off:?}"
    );
    assert!(
        !story
            .said(Kind::Closed, |entries| media(entries, 3).video.truncate(48))
            .is_empty()
    );
}

#[test]
fn what_was_out_of_reach_is_excused_while_a_list_grows_and_not_in_the_end() {
    let lacks = |entries: &mut Vec<Entry>| entries[6].media = None;
    let at = |entry: i64| BEGAN_US + entry * ENTRY_US;
    let story = Story {
        excused: vec![(at(6), at(8))],
        ..Story::whole()
    };
    assert_eq!(story.said(Kind::Live, lacks), []);
    assert!(!story.said(Kind::Grown, lacks).is_empty());
    let early = Story {
        excused: vec![(at(7), at(8))],
        ..Story::whole()
    };
    assert!(!early.said(Kind::Live, lacks).is_empty());
}

#[test]
fn media_is_read_with_the_times_of_each_chunk() {
    for sound in [Sound::Aac, Sound::MuLaw] {
        read_file(sound);
    }
}

fn read_file(sound: Sound) {
    let (header, file) = file(sound);
    let media = Init::parse(&header).unwrap().read(&file).unwrap();
    let of = |samples: &[Sample]| -> Vec<_> {
        samples
            .iter()
            .map(|sample| (sample.stamp.map(|stamp| stamp.sequence), sample.decode_us))
            .collect()
    };
    assert_eq!(
        of(&media.video),
        [(Some(0), 0), (Some(1), 40_000), (Some(2), 1_000_000)]
    );
    assert_eq!(of(&media.sound), [(Some(0), 10_000), (None, 74_000)]);
    assert!(
        Init::parse(&header)
            .unwrap()
            .read(&file[..file.len() - 1])
            .is_err()
    );
    assert!(Init::parse(&file).is_err(), "media is no init");
    assert_eq!(
        Init::parse(&header)
            .unwrap()
            .read(b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix"),
        Ok(Media::default())
    );
}

/// An init, and two chunks of video around one of sound, whose second frame is damaged.
fn file(sound: Sound) -> (Vec<u8>, Vec<u8>) {
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
    let codec = match sound {
        Sound::Aac => AudioCodec::Aac {
            config: vec![0x14, 0x08],
        },
        Sound::MuLaw => AudioCodec::PcmUlaw,
    };
    let audio = audio_init(&AudioParameters {
        codec,
        sample_rate_hz: 16_000,
        channels: 1,
    })
    .unwrap();
    let init = merge_inits(
        &[(InitId::of(&video), video)],
        &[(InitId::of(&audio), audio)],
    )
    .unwrap();
    let stamp = |sequence| Stamp {
        camera: 7,
        sequence,
        captured_us: 5,
    };
    let frame = |data: Vec<u8>, decode_time, duration| Frame {
        data: data.into(),
        decode_time,
        duration,
        composition_offset: 0,
        access: Some(AccessPoint::Sync),
    };
    let picture = |sequence: u64, decode_time| {
        let nal = stamp(sequence).encode(0);
        let length = u32::try_from(nal.len()).unwrap().to_be_bytes();
        frame([&length[..], &nal].concat(), decode_time, 3600)
    };
    let mut broken = sound::encoded(sound, stamp(1), &[1; 60]);
    broken.pop();
    let heard = [
        frame(sound::encoded(sound, stamp(0), &[1; 60]), 160, 1024),
        frame(broken, 1184, 1024),
    ];
    let chunk = |track, frames: &[Frame]| {
        build_chunk(track, 1, Timestamp(0), frames)
            .unwrap()
            .concat()
    };
    let media = [
        chunk(TrackKind::Video, &[picture(0, 0), picture(1, 3600)]),
        chunk(TrackKind::Audio, &heard),
        chunk(TrackKind::Video, &[picture(2, 90_000)]),
    ];
    (init.bytes.to_vec(), media.concat())
}
