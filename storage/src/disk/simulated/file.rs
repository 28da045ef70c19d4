//! One simulated file: what readers see, what is certainly on the medium, and what is in between.
//! Pure.

use crate::format::BLOCK_BYTES;
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PAGE: u64 = BLOCK_BYTES as u64;

type Page = Arc<[u8; BLOCK_BYTES]>;

/// Bytes of a file by page; a missing page is all zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Page>,
    bytes: u64,
}

/// A change of a file that is not durable yet. A page beyond the length is not visible, and is lost
/// unless the new length becomes durable.
#[derive(Clone, Debug)]
enum Change {
    Page(u64, Page),
    Length(u64),
}

/// Pages of one write.
pub(super) type Pages = Vec<(u64, Page)>;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    seen: Content,
    durable: Content,
    /// With the times of the changes, oldest first.
    pending: Vec<(u64, Change)>,
    /// Writes in progress.
    flying: BTreeMap<u64, Pages>,
    /// Data that a failed sync has given up: visible to readers, but no later sync makes it
    /// durable.
    abandoned: Vec<Change>,
    pub(super) reserved_bytes: u64,
}

/// How much of the unsynced data is on the medium after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// None of it is lost.
    Nothing,
    /// Each sector of each change is present or not, by chance: this many of eight are kept.
    Scattered { kept_of_eight: u32 },
    /// All changes up to some point are present, and the one at that point in part.
    Ordered,
}

impl Content {
    fn page(&self, number: u64) -> Page {
        self.pages
            .get(&number)
            .map_or_else(|| Arc::new([0; BLOCK_BYTES]), Arc::clone)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Page(number, page) => {
                self.pages.insert(*number, Arc::clone(page));
            }
            Change::Length(bytes) => self.set_bytes(*bytes),
        }
    }

    fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.pages.split_off(&bytes.div_ceil(PAGE));
        let rest = (bytes % PAGE) as usize;
        if rest != 0
            && let Some(page) = self.pages.get_mut(&(bytes / PAGE))
        {
            Arc::make_mut(page)[rest..].fill(0);
        }
    }

    /// Copies the bytes at `offset`. The caller has checked the length.
    fn read(&self, buffer: &mut [u8], offset: u64) {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (number, within) = (at / PAGE, (at % PAGE) as usize);
            let count = (BLOCK_BYTES - within).min(buffer.len() - done);
            match self.pages.get(&number) {
                Some(page) => {
                    buffer[done..done + count].copy_from_slice(&page[within..within + count])
                }
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
    }
}

impl File {
    pub(super) fn bytes(&self) -> u64 {
        self.seen.bytes
    }

    /// Fills `buffer`; `false` if the file is shorter.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        let is_there = offset + buffer.len() as u64 <= self.seen.bytes;
        if is_there {
            self.seen.read(buffer, offset);
        }
        is_there
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.seen.bytes as usize];
        self.seen.read(&mut bytes, 0);
        bytes
    }

    /// The pages that a write of `bytes` at `offset` changes, with their new contents.
    pub(super) fn pages_of(&self, bytes: &[u8], offset: u64) -> Pages {
        let mut pages: Pages = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, within) = (at / PAGE, (at % PAGE) as usize);
            let count = (BLOCK_BYTES - within).min(bytes.len() - done);
            let mut page = self.seen.page(number);
            Arc::make_mut(&mut page)[within..within + count]
                .copy_from_slice(&bytes[done..done + count]);
            pages.push((number, page));
            done += count;
        }
        pages
    }

    /// Makes `pages`, which end at byte `end`, visible to readers.
    pub(super) fn write(&mut self, stamp: u64, pages: Pages, end: u64) {
        let bytes = self.seen.bytes.max(end);
        for (number, page) in pages {
            self.change(stamp, Change::Page(number, page));
        }
        if self.seen.bytes != bytes {
            self.change(stamp, Change::Length(bytes));
        }
        self.reserved_bytes = self.reserved_bytes.max(bytes);
    }

    /// Like [`Self::write`], with each sector written or not.
    pub(super) fn write_in_part(
        &mut self,
        stamp: u64,
        pages: Pages,
        sector_bytes: usize,
        random: &mut Random,
    ) {
        let torn = pages.into_iter().map(|(number, page)| {
            let mut under = self.seen.page(number);
            mix(&mut under, &page, sector_bytes, |_| random.one_in(2));
            (number, under)
        });
        let torn: Pages = torn.collect();
        for (number, page) in torn {
            self.change(stamp, Change::Page(number, page));
        }
    }

    pub(super) fn set_bytes(&mut self, stamp: u64, bytes: u64) {
        self.change(stamp, Change::Length(bytes));
        self.reserved_bytes = bytes;
    }

    /// Reserves space, which also extends the file.
    pub(super) fn allocate(&mut self, stamp: u64, end: u64) {
        if end > self.seen.bytes {
            self.change(stamp, Change::Length(end));
        }
        self.reserved_bytes = self.reserved_bytes.max(end);
    }

    fn change(&mut self, stamp: u64, change: Change) {
        self.seen.apply(&change);
        self.pending.push((stamp, change));
    }

    pub(super) fn launch(&mut self, write: u64, pages: Pages) {
        self.flying.insert(write, pages);
    }

    pub(super) fn land(&mut self, write: u64) -> Pages {
        self.flying.remove(&write).unwrap_or_default()
    }

    /// Everything done before `stamp` is on the medium.
    pub(super) fn sync(&mut self, stamp: u64) {
        let done = self.pending.partition_point(|(at, _)| *at < stamp);
        for (_, change) in self.pending.drain(..done) {
            self.durable.apply(&change);
        }
    }

    /// A sync of everything before `stamp` failed.
    pub(super) fn sync_failed(&mut self, stamp: u64) {
        let done = self.pending.partition_point(|(at, _)| *at < stamp);
        self.abandoned
            .extend(self.pending.drain(..done).map(|(_, change)| change));
    }

    /// The contents after a power cut.
    pub(super) fn after_power_cut(
        &self,
        loss: Loss,
        sector_bytes: usize,
        random: &mut Random,
    ) -> Self {
        let mut changes: Vec<Change> = self.abandoned.clone();
        changes.extend(self.pending.iter().map(|(_, change)| change.clone()));
        for pages in self.flying.values() {
            changes.extend(
                pages
                    .iter()
                    .map(|(number, page)| Change::Page(*number, Arc::clone(page))),
            );
        }
        let mut durable = self.durable.clone();
        let torn = random.below(changes.len() as u64 + 1) as usize;
        for (number, change) in changes.into_iter().enumerate() {
            match loss {
                Loss::Nothing => durable.apply(&change),
                Loss::Everything => {}
                Loss::Scattered { kept_of_eight } => {
                    let mut is_kept = |_| random.below(8) < u64::from(kept_of_eight);
                    apply_in_part(&mut durable, change, sector_bytes, &mut is_kept);
                }
                Loss::Ordered if number < torn => durable.apply(&change),
                Loss::Ordered if number == torn => {
                    let end = random.below(PAGE) as usize;
                    apply_in_part(&mut durable, change, sector_bytes, &mut |at| at < end);
                }
                Loss::Ordered => {}
            }
        }
        // Data beyond the durable length is lost.
        durable.set_bytes(durable.bytes);
        Self {
            seen: durable.clone(),
            reserved_bytes: durable.bytes,
            durable,
            ..Self::default()
        }
    }

    /// The contents after the process was killed: all completed writes, and those in progress by
    /// chance.
    pub(super) fn after_kill(&mut self, stamp: u64, random: &mut Random) {
        for (_, pages) in std::mem::take(&mut self.flying) {
            let end = pages.last().map_or(0, |(number, _)| (number + 1) * PAGE);
            if random.one_in(2) {
                self.write(stamp, pages, end);
            }
        }
    }

    /// Changes a byte on the medium and in the readers' view.
    pub(super) fn damage(&mut self, offset: u64, change: impl Fn(u8) -> u8) {
        let (number, within) = (offset / PAGE, (offset % PAGE) as usize);
        for content in [&mut self.seen, &mut self.durable] {
            if offset < content.bytes {
                let mut page = content.page(number);
                let byte = &mut Arc::make_mut(&mut page)[within];
                *byte = change(*byte);
                content.pages.insert(number, page);
            }
        }
    }
}

/// Copies the kept sectors of `over`.
fn mix(under: &mut Page, over: &Page, sector_bytes: usize, mut is_kept: impl FnMut(usize) -> bool) {
    let under = Arc::make_mut(under);
    for at in (0..BLOCK_BYTES).step_by(sector_bytes) {
        if is_kept(at) {
            under[at..at + sector_bytes].copy_from_slice(&over[at..at + sector_bytes]);
        }
    }
}

fn apply_in_part(
    content: &mut Content,
    change: Change,
    sector_bytes: usize,
    is_kept: &mut impl FnMut(usize) -> bool,
) {
    match change {
        Change::Page(number, page) => {
            let mut under = content.page(number);
            mix(&mut under, &page, sector_bytes, is_kept);
            content.pages.insert(number, under);
        }
        Change::Length(bytes) if is_kept(0) => content.set_bytes(bytes),
        Change::Length(_) => {}
    }
}
