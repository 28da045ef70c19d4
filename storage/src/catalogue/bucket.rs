//! One stream's rows of one hour, packed into one value: sled needs some hundred bytes of memory
//! per 16 keys, too much for one key per segment and camera. Pure.
//!
//! Most rows continue the row before: the next segment, starting where that one ended, from the
//! same recorder, with the next chunk of its session, one stretch, and one table as long as the
//! row. Such a row takes some 27 bytes. A timeline reads only the stretches ([`stretches`]),
//! without an allocation per row.

use super::Broken;
use super::varint::{Put, Take};
use crate::format::TrackTable;
use crate::format::index::TrackKey;
use crate::ids::{CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamKind, TrackKind};
use crate::time::Timestamp;
use crate::timeline::{ChunkNumber, Span, Stretch};

/// Length of a bucket in microseconds; a row is in the bucket that contains its start. At the
/// default segment length a bucket holds sixty rows.
const BUCKET_US: i64 = 3_600_000_000;

/// About the size of a row that continues the one before.
const USUAL_ROW_BYTES: usize = 30;

/// Start and end are the row's.
const AS_ROW: u8 = 0x80;
/// Node, epoch and rank are those of the previous stretch, which may be in another row of the
/// bucket.
const AS_BEFORE: u8 = 0x40;
/// The stretch is damaged.
const DAMAGED: u8 = 0x20;
/// Frames were lost immediately before it.
const AFTER_LOSS: u8 = 0x10;
/// Its first chunk is the successor of the previous stretch's last chunk.
const FOLLOWS: u8 = 0x08;
/// Its first and last chunk belong to one session.
const ONE_SESSION: u8 = 0x04;
/// Its track.
const TRACK_MASK: u8 = 0x03;

/// One stream's part of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamRow {
    pub(crate) segment: SegmentId,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) tables: Vec<TrackTable>,
}

/// Where the bucket of an instant begins.
pub(super) fn bucket_of(time: Timestamp) -> Timestamp {
    Timestamp(time.0.div_euclid(BUCKET_US).saturating_mul(BUCKET_US))
}

/// The value of the bucket that begins at `base`.
pub(super) fn encode(base: Timestamp, rows: &[StreamRow]) -> Vec<u8> {
    let mut put = Put {
        out: Vec::with_capacity(rows.len() * USUAL_ROW_BYTES),
    };
    let mut before = Before::new(base);
    for row in rows {
        put.signed(row.segment.0.wrapping_sub(before.segment) as i64);
        put_interval(&mut put, before.end, row.start, row.end);
        put.unsigned(row.stretches.len() as u64);
        put.unsigned(row.tables.len() as u64);
        row.stretches
            .iter()
            .for_each(|stretch| put_stretch(&mut put, row, stretch, &mut before));
        row.tables
            .iter()
            .for_each(|table| put_table(&mut put, row, table));
        (before.segment, before.end) = (row.segment.0, row.end);
    }
    put.out
}

/// # Errors
/// The value is damaged.
pub(super) fn decode(
    camera: CameraId,
    stream: StreamKind,
    base: Timestamp,
    value: &[u8],
) -> Result<Vec<StreamRow>, Broken> {
    let mut rows = Vec::new();
    let mut reader = Reader::new(base, value);
    while let Some(head) = reader.head()? {
        rows.push(StreamRow {
            segment: head.segment,
            start: head.start,
            end: head.end,
            stretches: (0..head.stretches)
                .map(|_| reader.stretch(&head))
                .collect::<Result<_, _>>()?,
            tables: (0..head.tables)
                .map(|_| reader.table(&head, camera, stream))
                .collect::<Result<_, _>>()?,
        });
    }
    Ok(rows)
}

/// Appends the stretches of the rows for which `is_wanted(segment, start, end)`.
///
/// # Errors
/// The value is damaged.
pub(super) fn stretches(
    base: Timestamp,
    value: &[u8],
    is_wanted: impl Fn(SegmentId, Timestamp, Timestamp) -> bool,
    out: &mut Vec<Stretch>,
) -> Result<(), Broken> {
    let mut reader = Reader::new(base, value);
    while let Some(head) = reader.head()? {
        let is_wanted = is_wanted(head.segment, head.start, head.end);
        for _ in 0..head.stretches {
            let stretch = reader.stretch(&head)?;
            out.extend(is_wanted.then_some(stretch));
        }
        for _ in 0..head.tables {
            reader.table(&head, CameraId(0), StreamKind::Main)?;
        }
    }
    Ok(())
}

/// What a row is encoded relative to.
struct Before {
    segment: u64,
    end: Timestamp,
    recorder: Option<(NodeId, Epoch, Rank)>,
    last: Option<ChunkNumber>,
}

impl Before {
    fn new(base: Timestamp) -> Self {
        Self {
            segment: 0,
            end: base,
            recorder: None,
            last: None,
        }
    }
}

fn put_interval(put: &mut Put, from: Timestamp, start: Timestamp, end: Timestamp) {
    put.signed(start.0.wrapping_sub(from.0));
    put.signed(end.0.wrapping_sub(start.0));
}

fn put_stretch(put: &mut Put, row: &StreamRow, stretch: &Stretch, before: &mut Before) {
    let Stretch {
        span,
        track,
        first,
        last,
        after_loss,
    } = stretch;
    let recorder = (span.node, span.epoch, span.rank);
    let is_as_before = before.recorder.replace(recorder) == Some(recorder);
    let is_as_row = (span.start, span.end) == (row.start, row.end);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let follows = before.last.replace(*last).and_then(ChunkNumber::next) == Some(*first);
    let is_one_session = first.session == last.session;
    let placed = flag(is_as_row, AS_ROW) | flag(is_as_before, AS_BEFORE);
    let numbered = flag(follows, FOLLOWS) | flag(is_one_session, ONE_SESSION);
    put.u8(placed
        | flag(span.damaged, DAMAGED)
        | flag(*after_loss, AFTER_LOSS)
        | numbered
        | *track as u8);
    if !is_as_row {
        put_interval(put, row.start, span.start, span.end);
    }
    if !is_as_before {
        put.unsigned(span.node.0);
        put.unsigned(span.epoch.0);
        put.u8(span.rank as u8);
    }
    if !follows {
        put.unsigned(first.session.0);
        put.unsigned(u64::from(first.sequence));
    }
    if !is_one_session {
        put.unsigned(last.session.0);
    }
    put.unsigned(u64::from(last.sequence.wrapping_sub(first.sequence)));
}

fn put_table(put: &mut Put, row: &StreamRow, table: &TrackTable) {
    let is_as_row = (table.start, table.end) == (row.start, row.end);
    put.u8(table.key.track as u8 | if is_as_row { AS_ROW } else { 0 });
    if !is_as_row {
        put_interval(put, row.start, table.start, table.end);
    }
    put.unsigned(u64::from(table.rows));
    put.unsigned(u64::from(table.crc));
    put.unsigned(table.offset);
    put.unsigned(table.payload_bytes);
}

/// The start of a row. It is followed by this many stretches and then this many tables; the caller
/// reads all of them before the next row.
struct Head {
    segment: SegmentId,
    start: Timestamp,
    end: Timestamp,
    stretches: u64,
    tables: u64,
}

struct Reader<'a> {
    take: Take<'a>,
    before: Before,
}

impl<'a> Reader<'a> {
    fn new(base: Timestamp, value: &'a [u8]) -> Self {
        Self {
            take: Take { bytes: value },
            before: Before::new(base),
        }
    }

    /// `None` at the end.
    fn head(&mut self) -> Result<Option<Head>, Broken> {
        if self.take.bytes.is_empty() {
            return Ok(None);
        }
        let segment = self.before.segment.wrapping_add(self.take.signed()? as u64);
        let (start, end) = self.interval(self.before.end)?;
        (self.before.segment, self.before.end) = (segment, end);
        let (stretches, tables) = (self.take.unsigned()?, self.take.unsigned()?);
        Ok(Some(Head {
            segment: SegmentId(segment),
            start,
            end,
            stretches,
            tables,
        }))
    }

    fn interval(&mut self, from: Timestamp) -> Result<(Timestamp, Timestamp), Broken> {
        let start = Timestamp(from.0.wrapping_add(self.take.signed()?));
        Ok((start, Timestamp(start.0.wrapping_add(self.take.signed()?))))
    }

    fn interval_within(
        &mut self,
        head: &Head,
        flags: u8,
    ) -> Result<(Timestamp, Timestamp), Broken> {
        if flags & AS_ROW == 0 {
            self.interval(head.start)
        } else {
            Ok((head.start, head.end))
        }
    }

    fn stretch(&mut self, head: &Head) -> Result<Stretch, Broken> {
        let flags = self.take.u8()?;
        let (start, end) = self.interval_within(head, flags)?;
        let as_before = self.before.recorder.filter(|_| flags & AS_BEFORE != 0);
        let (node, epoch, rank) = match as_before {
            Some(recorder) => recorder,
            None => (
                NodeId(self.take.unsigned()?),
                Epoch(self.take.unsigned()?),
                kind(self.take.u8()?)?,
            ),
        };
        self.before.recorder = Some((node, epoch, rank));
        let (first, last) = self.numbers(flags)?;
        self.before.last = Some(last);
        let span = Span {
            start,
            end,
            node,
            epoch,
            rank,
            damaged: flags & DAMAGED != 0,
        };
        Ok(Stretch {
            span,
            track: kind(flags & TRACK_MASK)?,
            first,
            last,
            after_loss: flags & AFTER_LOSS != 0,
        })
    }

    /// The numbers of the first and the last chunk.
    fn numbers(&mut self, flags: u8) -> Result<(ChunkNumber, ChunkNumber), Broken> {
        let first = match self
            .before
            .last
            .and_then(ChunkNumber::next)
            .filter(|_| flags & FOLLOWS != 0)
        {
            Some(next) => next,
            None => ChunkNumber {
                session: SessionId(self.take.unsigned()?),
                sequence: self.take.u32()?,
            },
        };
        let session = if flags & ONE_SESSION != 0 {
            first.session
        } else {
            SessionId(self.take.unsigned()?)
        };
        let last = ChunkNumber {
            session,
            sequence: first.sequence.wrapping_add(self.take.u32()?),
        };
        Ok((first, last))
    }

    fn table(
        &mut self,
        head: &Head,
        camera: CameraId,
        stream: StreamKind,
    ) -> Result<TrackTable, Broken> {
        let flags = self.take.u8()?;
        let track: TrackKind = kind(flags & !AS_ROW)?;
        let (start, end) = self.interval_within(head, flags)?;
        Ok(TrackTable {
            key: TrackKey {
                camera,
                stream,
                track,
            },
            rows: self.take.u32()?,
            crc: self.take.u32()?,
            offset: self.take.unsigned()?,
            payload_bytes: self.take.unsigned()?,
            start,
            end,
        })
    }
}

fn kind<T: TryFrom<u8>>(value: u8) -> Result<T, Broken> {
    T::try_from(value).map_err(|_| Broken("a bucket names a kind that there is not".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Timestamp = Timestamp(497_777 * BUCKET_US);

    fn row(segment: u64, start: i64, length: i64, rows: u32) -> StreamRow {
        let (start, end) = (Timestamp(start), Timestamp(start.wrapping_add(length)));
        let key = TrackKey {
            camera: CameraId(7),
            stream: StreamKind::Sub,
            track: TrackKind::Audio,
        };
        let span = Span {
            start,
            end,
            node: NodeId(3),
            epoch: Epoch(9),
            rank: Rank::Mirror,
            damaged: false,
        };
        let number = |sequence| ChunkNumber {
            session: SessionId(BASE.0 as u64),
            sequence,
        };
        let from = (segment as u32).wrapping_mul(rows);
        let (first, last) = (
            number(from),
            number(from.wrapping_add(rows).wrapping_sub(1)),
        );
        let stretch = Stretch {
            span,
            track: TrackKind::Audio,
            first,
            last,
            after_loss: false,
        };
        let table = TrackTable {
            key,
            rows,
            crc: rows ^ 77,
            offset: 4096,
            start,
            end,
            payload_bytes: u64::from(rows) * 1000,
        };
        StreamRow {
            segment: SegmentId(segment),
            start,
            end,
            stretches: vec![stretch],
            tables: vec![table],
        }
    }

    /// Rows whose stretches and tables differ from the row, or that have none.
    fn odd_row(seed: (u64, i64, i64, u32)) -> StreamRow {
        let mut row = row(seed.0, seed.1, seed.2, seed.3);
        let middle = Timestamp(seed.1.wrapping_add(seed.2 / 2));
        let (stretch, table) = (row.stretches[0], row.tables[0]);
        let span = stretch.span;
        match seed.3 % 4 {
            0 => {
                let span = Span {
                    start: middle,
                    epoch: Epoch(seed.0),
                    rank: Rank::Owner,
                    damaged: true,
                    ..span
                };
                let last = ChunkNumber {
                    session: SessionId(seed.0),
                    sequence: seed.3,
                };
                row.stretches.push(Stretch {
                    span,
                    track: TrackKind::Video,
                    last,
                    after_loss: true,
                    ..stretch
                });
            }
            1 => row.tables.push(TrackTable {
                end: middle,
                offset: seed.0,
                payload_bytes: seed.0,
                ..table
            }),
            2 => {
                let span = Span {
                    end: middle,
                    node: NodeId(seed.0),
                    ..span
                };
                row.stretches = vec![Stretch {
                    span,
                    first: stretch.last,
                    ..stretch
                }];
            }
            _ => (row.stretches, row.tables) = (vec![], vec![]),
        }
        row
    }

    proptest! {
        #[test]
        fn rows_come_back(
            seeds in proptest::collection::vec(
                (any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>()),
                0..6,
            ),
        ) {
            let rows: Vec<_> = seeds.into_iter().map(odd_row).collect();
            let base = bucket_of(rows.first().map_or(Timestamp(0), |row| row.start));
            let value = encode(base, &rows);
            prop_assert_eq!(&decode(CameraId(7), StreamKind::Sub, base, &value).unwrap(), &rows);
            let mut found = Vec::new();
            stretches(base, &value, |_, start, _| start.0 % 2 == 0, &mut found).unwrap();
            let wanted = rows
                .iter()
                .filter(|row| row.start.0 % 2 == 0)
                .flat_map(|row| row.stretches.iter().copied());
            prop_assert_eq!(found, wanted.collect::<Vec<_>>());
        }

        #[test]
        fn noise_never_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(CameraId(7), StreamKind::Sub, BASE, &value);
        }
    }

    #[test]
    fn buckets_are_hours_also_before_1970() {
        assert_eq!(bucket_of(Timestamp(-1)), Timestamp(-BUCKET_US));
        assert_eq!(bucket_of(Timestamp(BUCKET_US)), Timestamp(BUCKET_US));
    }

    #[test]
    fn a_usual_row_is_small() {
        let usual = |at: i64| {
            let mut row = row(
                100_000 + at as u64,
                BASE.0 + at * 60_000_000 + at % 7,
                60_000_000 - at % 5,
                150,
            );
            row.tables[0].crc = 0xdead_beef;
            (row.tables[0].offset, row.tables[0].payload_bytes) = (1_500_000_000, 15_000_000);
            row
        };
        let bytes = encode(BASE, &(0..60).map(usual).collect::<Vec<_>>()).len() / 60;
        assert!(bytes <= USUAL_ROW_BYTES, "{bytes} bytes a row");
    }
}
