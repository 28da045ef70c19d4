//! Collects the NAL units of RTP packets into access units, byte for byte as they came, each with
//! four bytes of length before it. Pure: every packet brings its time of arrival.
//!
//! An access unit ends at the marker bit (RFC 6184, 5.1; RFC 7798, 4.1) or when the RTP time
//! changes. Cameras err in both, so the slices decide: a slice that does not begin a picture
//! continues the previous one, regardless of marker bit and time; parameter sets and SEI without a
//! slice wait for their picture. Until a camera has shown that nothing follows its marker bits, a
//! marked unit is held for [`HELD`] or until the next packet.
//!
//! If packets are lost within a unit, the rest is kept, including the cut NAL unit, and the unit is
//! marked: decoders conceal the missing parts.

use super::nal::{Nal, Slice, SliceKind, inspect};
use super::parameter_sets::ParameterSets;
use super::{Arrival, Fault, Packet, annex_b};
use crate::capture::ingest::media::{MediaFrame, TrackParameters, Undecodable, VideoCodec};
use bytes::{BufMut, BytesMut};
use holdfast_storage::chunk::{AccessPoint, FRAME_BYTES_MAX};
use holdfast_storage::ids::TrackKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LENGTH_BYTES: usize = 4;
/// How long a unit with a marker bit waits for more of it.
const HELD: Duration = Duration::from_millis(100);
/// So many units in a row that nothing followed show that markers can be believed.
const PROVEN_UNITS: u32 = 64;
/// How long a unit without a marker bit waits, of a camera that never sends one; its next picture
/// may be seconds away.
const UNMARKED: Duration = Duration::from_millis(300);
/// The same, of a camera that sends marker bits: the rest of the unit is late.
const UNFINISHED: Duration = Duration::from_secs(2);
/// A continuation's RTP time is at most this far from its picture's, in parts of a second.
const SAME_PICTURE_DIVISOR: i64 = 100;
/// Pictures without any reference count as access points if nothing better came for this long: in
/// closed GOPs, later pictures may refer to earlier ones.
const INTRA_AFTER: Duration = Duration::from_secs(10);
/// The same at a session's begin.
const INTRA_AFTER_START: Duration = Duration::from_secs(2);
/// An arena for frames that is larger is given back rather than kept.
const ARENA_BYTES_MAX: usize = 256 << 10;

/// A part of an RTP payload, as the payload formats have it.
pub(super) enum Part<'a> {
    /// A whole NAL unit.
    Nal(&'a [u8]),
    /// The first fragment of a NAL unit, whose header is rebuilt from the fragment's.
    First {
        header: [u8; 2],
        header_bytes: usize,
        body: &'a [u8],
        is_last: bool,
    },
    /// A further one.
    Next { body: &'a [u8], is_last: bool },
}

pub(super) struct AccessUnits {
    codec: VideoCodec,
    timescale: u32,
    sets: ParameterSets,
    announced: Option<Arc<TrackParameters>>,
    /// Why the sets decode nothing, as it was logged last.
    undecodable: Option<Undecodable>,
    arena: BytesMut,
    open: Option<Unit>,
    /// The unit in the making is too long: the rest of it is dropped.
    is_skipping: bool,
    marking: Marking,
    /// Packets that were lost since the last unit.
    lost: u32,
    last_rtp: Option<i64>,
    began: Option<Instant>,
    /// When the last access point came that is not intra alone.
    last_access: Option<Instant>,
}

/// The unit in the making; its bytes are in the arena.
struct Unit {
    rtp: i64,
    arrival: Arrival,
    last_arrival: Instant,
    lost: u32,
    picture: Picture,
    /// The place of the length field of the NAL unit whose fragments are arriving.
    fragment_at: Option<usize>,
    is_marked: bool,
    is_damaged: bool,
}

/// What a unit's slices show of their picture.
#[derive(Default)]
struct Picture {
    slices: u32,
    /// Slices that begin a picture: two of a pair of fields.
    begins: u32,
    is_headless: bool,
    sync: u32,
    clean: u32,
    intra: u32,
    recovery: Option<u16>,
    pps: Option<u8>,
}

/// What the camera's marker bits and times have shown so far.
#[derive(Default)]
struct Marking {
    was_seen: bool,
    /// Something of the same picture came after a marker bit.
    is_wrong: bool,
    /// Marked units in a row that nothing followed.
    proven: u32,
    /// RTP time stood still over several pictures: each picture's first slice begins a unit.
    is_frozen: bool,
}

impl Marking {
    fn is_believed(&self) -> bool {
        !self.is_wrong && self.proven >= PROVEN_UNITS
    }
}

impl AccessUnits {
    pub(super) fn new(codec: VideoCodec, timescale: u32, fmtp: Option<&str>) -> Self {
        let mut sets = ParameterSets::new(codec);
        if let Some(fmtp) = fmtp {
            sets.read_fmtp(fmtp);
        }
        Self {
            codec,
            timescale,
            sets,
            announced: None,
            undecodable: None,
            arena: BytesMut::new(),
            open: None,
            is_skipping: false,
            marking: Marking::default(),
            lost: 0,
            last_rtp: None,
            began: None,
            last_access: None,
        }
    }

    /// Begins the next packet, which first decides whether the unit in the making ends. `first` is
    /// its first NAL unit; `None` if it continues a fragment or is malformed.
    pub(super) fn begin_packet(
        &mut self,
        packet: &Packet<'_>,
        first: Option<Nal>,
        out: &mut impl Extend<MediaFrame>,
    ) {
        self.began.get_or_insert(packet.arrival.instant);
        if packet.lost > 0 {
            self.note_loss(packet);
        }
        if self
            .open
            .as_ref()
            .is_some_and(|unit| self.ends_before(unit, packet, first))
        {
            if let Some(unit) = &self.open {
                self.marking.proven = self
                    .marking
                    .proven
                    .saturating_add(u32::from(unit.is_marked));
                self.marking.is_frozen |=
                    unit.picture.begins >= 2 && unit.rtp == packet.rtp && !unit.is_marked;
            }
            self.close(out);
        }
        let continues = matches!(
            first,
            Some(Nal::Slice(Slice {
                begins_picture: Some(false),
                ..
            }))
        );
        match &mut self.open {
            Some(unit) => {
                if unit.is_marked && continues && packet.lost == 0 {
                    self.marking.is_wrong = true;
                }
                unit.is_marked = false;
                unit.last_arrival = packet.arrival.instant;
            }
            None => {
                if continues && packet.lost == 0 && self.last_rtp == Some(packet.rtp) {
                    // Its picture was handed over at the marker bit.
                    self.marking.is_wrong = true;
                }
                self.open(packet);
            }
        }
    }

    /// A part of the packet that began.
    ///
    /// # Errors
    /// The part cannot be used; others may follow.
    pub(super) fn part(&mut self, packet: &Packet<'_>, part: &Part<'_>) -> Result<(), Fault> {
        if self.is_skipping {
            return Ok(());
        }
        match part {
            Part::Nal(nal) => {
                self.end_fragment();
                self.begin_nal(&[], nal)?;
                self.end_nal(packet)
            }
            Part::First {
                header,
                header_bytes,
                body,
                is_last,
            } => {
                self.end_fragment();
                self.begin_nal(&header[..*header_bytes], body)?;
                if *is_last {
                    self.end_nal(packet)
                } else {
                    Ok(())
                }
            }
            Part::Next { body, is_last } => self.next_fragment(packet, body, *is_last),
        }
    }

    /// The packet is complete.
    pub(super) fn end_packet(&mut self, packet: &Packet<'_>, out: &mut impl Extend<MediaFrame>) {
        if !packet.marker {
            return;
        }
        self.marking.was_seen = true;
        self.end_fragment();
        let Some(unit) = &mut self.open else { return };
        unit.is_marked = true;
        if unit.picture.slices > 0 && self.marking.is_believed() {
            self.close(out);
        }
    }

    /// Hands over a unit that is not expected to continue.
    pub(super) fn idle(&mut self, now: Instant, out: &mut impl Extend<MediaFrame>) {
        let Some(unit) = &self.open else { return };
        let waits = match unit.is_marked {
            true => HELD,
            false if self.marking.was_seen => UNFINISHED,
            false => UNMARKED,
        };
        if unit.picture.slices > 0 && now.saturating_duration_since(unit.last_arrival) >= waits {
            self.close(out);
        }
    }

    /// Whether a unit waits for its end, so that [`Self::idle`] has something to do soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|unit| unit.picture.slices > 0)
    }

    /// The stream is over.
    pub(super) fn finish(&mut self, out: &mut impl Extend<MediaFrame>) {
        if self.is_waiting() {
            self.close(out);
        }
    }

    /// Why none of the stream can be decoded, if parameter sets are the reason.
    pub(super) fn undecodable(&self) -> Option<&Undecodable> {
        self.undecodable.as_ref()
    }

    fn open(&mut self, packet: &Packet<'_>) {
        self.is_skipping = false;
        self.open = Some(Unit {
            rtp: packet.rtp,
            arrival: packet.arrival,
            last_arrival: packet.arrival.instant,
            lost: std::mem::take(&mut self.lost),
            picture: Picture::default(),
            fragment_at: None,
            is_marked: false,
            is_damaged: false,
        });
    }

    /// Packets were lost right before this one. If the unit has not ended, they may have been part
    /// of it.
    fn note_loss(&mut self, packet: &Packet<'_>) {
        let lost = u32::from(packet.lost);
        match &mut self.open {
            Some(unit) if unit.picture.slices > 0 || unit.fragment_at.is_some() => {
                let same = unit.rtp == packet.rtp;
                // A unit whose marker bit came is whole.
                unit.is_damaged |= !unit.is_marked || same;
                if same && !unit.is_marked {
                    unit.lost += lost
                } else {
                    self.lost += lost
                }
            }
            Some(unit) => unit.lost += lost,
            None => self.lost += lost,
        }
        self.end_fragment();
    }

    fn ends_before(&self, unit: &Unit, packet: &Packet<'_>, first: Option<Nal>) -> bool {
        let is_same_time = unit.rtp == packet.rtp;
        if unit.picture.slices == 0 && unit.fragment_at.is_none() && !self.is_skipping {
            // The packets that it waits for were lost.
            return !is_same_time && (packet.lost > 0 || unit.lost > 0 || unit.is_damaged);
        }
        let Some(first) = first else {
            return packet.lost > 0 && !is_same_time;
        };
        if let Nal::Slice(slice) = first {
            if slice.begins_picture == Some(false) && !self.is_skipping {
                return !is_same_time && (packet.lost > 0 || !self.is_close(unit.rtp, packet.rtp));
            }
            let is_third = unit.picture.begins >= 2 || self.marking.is_frozen;
            return !is_same_time || unit.is_marked || is_third;
        }
        let is_suffix = is_same_time && first == Nal::Other;
        !is_same_time || (unit.is_marked && !is_suffix)
    }

    fn is_close(&self, one: i64, other: i64) -> bool {
        one.abs_diff(other) <= (i64::from(self.timescale) / SAME_PICTURE_DIVISOR).unsigned_abs()
    }

    fn begin_nal(&mut self, header: &[u8], body: &[u8]) -> Result<(), Fault> {
        if header.is_empty() && body.is_empty() {
            return Err(Fault::Empty);
        }
        self.make_room(LENGTH_BYTES + header.len() + body.len())?;
        let Some(unit) = &mut self.open else {
            return Ok(());
        };
        unit.fragment_at = Some(self.arena.len());
        self.arena.put_u32(0);
        self.arena.extend_from_slice(header);
        self.arena.extend_from_slice(body);
        Ok(())
    }

    fn next_fragment(
        &mut self,
        packet: &Packet<'_>,
        body: &[u8],
        is_last: bool,
    ) -> Result<(), Fault> {
        let Some(unit) = &mut self.open else {
            return Ok(());
        };
        if unit.fragment_at.is_none() {
            // Its start was lost with other packets; if none was lost, the fragment belongs to
            // nothing.
            unit.is_damaged |= unit.lost > 0;
            return Err(Fault::Fragment);
        }
        self.make_room(body.len())?;
        self.arena.extend_from_slice(body);
        if is_last {
            self.end_nal(packet)
        } else {
            Ok(())
        }
    }

    /// Keeps the unit from becoming longer than a frame that can be stored.
    fn make_room(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.arena.len() + bytes <= FRAME_BYTES_MAX {
            return Ok(());
        }
        self.arena = BytesMut::new();
        self.is_skipping = true;
        self.lost = self.lost.saturating_add(1);
        if let Some(unit) = &mut self.open {
            unit.fragment_at = None;
            unit.picture = Picture::default();
        }
        Err(Fault::Oversize)
    }

    /// A fragment whose end has not come ends here: it was lost, or the camera marks no ends.
    fn end_fragment(&mut self) {
        let Some((rtp, arrival)) = self.open.as_ref().map(|unit| (unit.rtp, unit.arrival)) else {
            return;
        };
        let packet = Packet {
            payload: &[],
            rtp,
            marker: false,
            lost: 0,
            arrival,
        };
        if self
            .open
            .as_ref()
            .is_some_and(|unit| unit.fragment_at.is_some())
            && let Err(fault) = self.end_nal(&packet)
        {
            tracing::trace!(?fault, "an unfinished fragment");
        }
    }

    /// Completes the NAL unit that began last.
    fn end_nal(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        let Some(at) = self.open.as_mut().and_then(|unit| unit.fragment_at.take()) else {
            return Ok(());
        };
        let begin = at + LENGTH_BYTES;
        if annex_b::has_start_code(&self.arena[begin..]) {
            let bytes = self.arena[begin..].to_vec();
            self.arena.truncate(at);
            return annex_b::split(&bytes).try_for_each(|nal| {
                self.make_room(LENGTH_BYTES + nal.len())?;
                self.arena.put_u32(nal.len() as u32);
                self.arena.extend_from_slice(nal);
                let at = self.arena.len() - nal.len();
                self.see(packet, at)
            });
        }
        let length = (self.arena.len() - begin) as u32;
        self.arena[at..begin].copy_from_slice(&length.to_be_bytes());
        self.see(packet, begin)
    }

    /// Inspects the NAL unit in the arena from `at` on.
    fn see(&mut self, packet: &Packet<'_>, at: usize) -> Result<(), Fault> {
        let nal = &self.arena[at..];
        let Some(unit) = &mut self.open else {
            return Ok(());
        };
        match inspect(self.codec, nal) {
            Nal::Slice(slice) => {
                if unit.picture.slices == 0 {
                    // The NAL units before its slices may have had a time of their own.
                    (unit.rtp, unit.arrival) = (packet.rtp, packet.arrival);
                }
                unit.picture.see(slice);
                Ok(())
            }
            Nal::Sei { recovery } => {
                unit.picture.recovery = unit.picture.recovery.or(recovery);
                Ok(())
            }
            Nal::ParameterSet(_) => self.sets.see(nal).map_err(|_| Fault::ParameterSet),
            Nal::Delimiter | Nal::Other => Ok(()),
        }
    }

    fn close(&mut self, out: &mut impl Extend<MediaFrame>) {
        self.end_fragment();
        let Some(unit) = self.open.take() else { return };
        if std::mem::take(&mut self.is_skipping) || unit.picture.slices == 0 {
            self.lost = self.lost.saturating_add(unit.lost);
            self.arena.clear();
            return;
        }
        let data = self.arena.split().freeze();
        self.make_arena(data.len());
        self.last_rtp = Some(unit.rtp);
        let is_damaged = unit.is_damaged || unit.picture.is_headless;
        let access = self.access(&unit, is_damaged);
        // Recording may have to begin without an access point: what decodes it is announced as soon
        // as it is known.
        let is_asked = access.is_some() || self.announced.is_none();
        let parameters = if is_asked {
            self.parameters(unit.picture.pps, access.is_some())
        } else {
            None
        };
        out.extend([MediaFrame {
            track: TrackKind::Video,
            rtp: unit.rtp,
            timescale: self.timescale,
            received: unit.arrival.instant,
            received_wall: unit.arrival.wall,
            data,
            access,
            lost_packets: u16::try_from(unit.lost).unwrap_or(u16::MAX),
            is_damaged,
            length: None,
            parameters,
        }]);
    }

    /// Keeps the rest of the arena for the next frame, unless a large frame has made it large.
    fn make_arena(&mut self, frame_bytes: usize) {
        if self.arena.capacity() > ARENA_BYTES_MAX {
            self.arena = BytesMut::new();
        }
        // The next frame is probably no longer than this one, unless this one is an access point:
        // then it is shorter.
        self.arena.reserve(frame_bytes.min(ARENA_BYTES_MAX / 4));
    }

    /// How decoding can begin at the unit, if it can.
    fn access(&mut self, unit: &Unit, is_damaged: bool) -> Option<AccessPoint> {
        if is_damaged {
            return None;
        }
        let now = unit.arrival.instant;
        let certain = unit.picture.access();
        if certain.is_some() {
            self.last_access = Some(now);
            return certain;
        }
        let (since, after) = match (self.last_access, self.began) {
            (Some(last), _) => (last, INTRA_AFTER),
            (None, Some(began)) => (began, INTRA_AFTER_START),
            (None, None) => return None,
        };
        let is_late = now.saturating_duration_since(since) >= after;
        (unit.picture.is_intra() && is_late).then_some(AccessPoint::Open)
    }

    /// The parameters that decode from here on, if they were not announced yet.
    fn parameters(&mut self, pps: Option<u8>, is_access: bool) -> Option<Arc<TrackParameters>> {
        if self.announced.is_some() && !self.sets.has_changed() {
            return None;
        }
        match self.sets.parameters(pps, self.timescale) {
            Ok(parameters) if self.announced.as_deref() == Some(&parameters) => None,
            Ok(parameters) => {
                self.undecodable = None;
                self.announced = Some(Arc::new(parameters));
                self.announced.clone()
            }
            // They may come with the next access point.
            Err(_) if !is_access => None,
            Err(why) => {
                if self.undecodable.as_ref() != Some(&why) {
                    tracing::warn!(%why, "what the camera sends cannot be decoded");
                    self.undecodable = Some(why);
                }
                None
            }
        }
    }
}

impl Picture {
    fn see(&mut self, slice: Slice) {
        if self.slices == 0 {
            self.pps = slice.pps;
            self.is_headless = slice.begins_picture == Some(false);
        }
        self.slices += 1;
        self.begins += u32::from(slice.begins_picture == Some(true));
        match slice.kind {
            SliceKind::Sync => self.sync += 1,
            SliceKind::CleanRandomAccess => self.clean += 1,
            SliceKind::Intra => self.intra += 1,
            SliceKind::Other => {}
        }
    }

    /// How decoding can begin here, if the stream itself says so.
    fn access(&self) -> Option<AccessPoint> {
        if self.sync == self.slices {
            return Some(AccessPoint::Sync);
        }
        if self.sync + self.clean == self.slices {
            return Some(AccessPoint::Open);
        }
        match self.recovery? {
            0 => Some(AccessPoint::Open),
            frames => Some(AccessPoint::Recovery { frames }),
        }
    }

    fn is_intra(&self) -> bool {
        self.slices > 0 && self.intra + self.sync == self.slices
    }
}
