//! Watches a list that grows while faults come and go, and fetches each entry when it is first
//! listed. It asks one node after the other, those that no fault holds, as players do behind a name
//! with several addresses.

use super::fetch::{Fetcher, Node};
use super::playlist::{self, Listed, Playlist};
use super::{Entry, Kind, Showing};
use holdfast_node::terminal::clock::monotonic_now;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Between two looks at the list.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long no node may answer for a list or an entry. A player has buffered more.
const UNANSWERED_MAX: Duration = Duration::from_secs(15);

/// Before a node is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Cells abut; durations are written in microseconds and read as 32-bit floating point.
const ABUT_US: i64 = 4;

/// The presentation to watch, and the nodes to ask.
pub(crate) struct Watch {
    pub(crate) camera: String,
    pub(crate) kind: Kind,
    /// Of the first request.
    pub(crate) query: String,
    pub(crate) nodes: Vec<Node>,
    /// Nodes that a fault holds.
    pub(crate) held: Arc<Mutex<BTreeSet<usize>>>,
}

/// A player that watches; it stops when it is dropped.
pub(crate) struct Watching {
    _task: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
    camera: String,
    kind: Kind,
}

/// A request.
#[derive(Debug)]
enum Wanted {
    /// With this query.
    Open(String),
    List(String),
    Entry(Listed),
}

#[derive(Debug)]
enum Answer {
    /// Where the list is.
    Opened(String),
    List(Playlist),
    Entry(Entry),
}

impl Wanted {
    async fn ask(&self, fetcher: &mut Fetcher, node: &Node) -> Result<Answer, String> {
        match self {
            Self::Open(query) => {
                let text = fetcher.open(node, query).await?;
                let variant =
                    playlist::first_variant(&text).ok_or("it is no multivariant playlist")?;
                Ok(Answer::Opened(variant.to_owned()))
            }
            Self::List(uri) => Ok(Answer::List(playlist::parse(
                &fetcher.text(node, uri).await?,
            )?)),
            Self::Entry(listed) => Ok(Answer::Entry(fetcher.entry(node, listed).await?)),
        }
    }
}

/// Everything that a player has got so far.
#[derive(Debug, Default)]
struct Seen {
    /// Where the list is, once it was opened.
    uri: Option<String>,
    listed: BTreeMap<u64, Listed>,
    entries: BTreeMap<u64, Entry>,
    first_shown: u64,
    wrong: Vec<String>,
}

impl Watch {
    pub(crate) fn start(self, mut fetcher: Fetcher) -> Watching {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (camera, kind) = (self.camera.clone(), self.kind);
        let mut task = JoinSet::new();
        let shared = Arc::clone(&seen);
        task.spawn(async move {
            let mut turn = 0;
            loop {
                self.look(&mut fetcher, &shared, &mut turn).await;
                sleep(LOOK_INTERVAL).await;
            }
        });
        Watching {
            _task: task,
            seen,
            camera,
            kind,
        }
    }

    async fn look(&self, fetcher: &mut Fetcher, seen: &Mutex<Seen>, turn: &mut usize) {
        let opened = lock(seen).uri.clone();
        let wanted = opened.map_or_else(|| Wanted::Open(self.query.clone()), Wanted::List);
        let mut new = match self.ask(fetcher, turn, &wanted).await {
            Ok((answer, node)) => lock(seen).take(answer, &node),
            Err(error) => return lock(seen).wrong.push(error),
        };
        for listed in new.drain(..) {
            // The node that listed it is not the only one that knows it.
            match self.ask(fetcher, turn, &Wanted::Entry(listed)).await {
                Ok((answer, node)) => drop(lock(seen).take(answer, &node)),
                Err(error) => lock(seen).wrong.push(error),
            }
        }
    }

    /// Asks one free node after the other until one answers, and returns which did.
    ///
    /// # Errors
    /// The nodes' errors, if none has answered for [`UNANSWERED_MAX`].
    async fn ask(
        &self,
        fetcher: &mut Fetcher,
        turn: &mut usize,
        wanted: &Wanted,
    ) -> Result<(Answer, String), String> {
        let mut unanswered: Option<Instant> = None;
        loop {
            *turn += 1;
            let free = self.free();
            let Some(&index) = free.get(*turn % free.len().max(1)) else {
                // A fault holds all of them.
                unanswered = None;
                sleep(RETRY_AFTER).await;
                continue;
            };
            match wanted.ask(fetcher, &self.nodes[index]).await {
                Ok(answer) => return Ok((answer, self.nodes[index].name.clone())),
                Err(error) if self.free().contains(&index) => {
                    let since = *unanswered.get_or_insert_with(monotonic_now);
                    if since.elapsed() > UNANSWERED_MAX {
                        return Err(format!("no node answers: {error}"));
                    }
                }
                // A fault took it while it was asked.
                Err(_) => {}
            }
            sleep(RETRY_AFTER).await;
        }
    }

    fn free(&self) -> Vec<usize> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (0..self.nodes.len())
            .filter(|index| !held.contains(index))
            .collect()
    }
}

impl Watching {
    /// Where its list is; `None` if it never could be opened.
    pub(crate) fn uri(&self) -> Option<String> {
        lock(&self.seen).uri.clone()
    }

    pub(crate) fn camera(&self) -> &str {
        &self.camera
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Stops the player, and returns everything that it got.
    pub(crate) fn end(self) -> Showing {
        let seen = lock(&self.seen);
        Showing {
            camera: self.camera.clone(),
            kind: self.kind,
            asked: "each node in turn".to_owned(),
            from_us: i64::MIN,
            entries: seen.entries.values().cloned().collect(),
            wrong: seen.wrong.clone(),
        }
    }
}

impl Seen {
    /// Takes an answer. Returns the entries that it lists for the first time.
    fn take(&mut self, answer: Answer, node: &str) -> Vec<Listed> {
        match answer {
            Answer::Opened(uri) => self.uri = Some(uri),
            Answer::List(list) => return self.compare(&list, node),
            Answer::Entry(entry) => drop(self.entries.insert(entry.sequence, entry)),
        }
        Vec::new()
    }

    /// Entries that are listed for the first time.
    fn compare(&mut self, list: &Playlist, node: &str) -> Vec<Listed> {
        let on = |what: String| format!("{what} on {node}");
        self.wrong.extend(list.wrong.iter().cloned().map(on));
        let Some(first) = list.entries.first() else {
            return Vec::new();
        };
        if first.sequence < self.first_shown {
            let what = format!(
                "EXT-X-MEDIA-SEQUENCE went back from {} to {}",
                self.first_shown, first.sequence
            );
            self.wrong.push(on(what));
        }
        self.first_shown = self.first_shown.max(first.sequence);
        for pair in list.entries.windows(2) {
            let apart_us = pair[1].wall_us - pair[0].wall_us - pair[0].duration_us;
            if apart_us.abs() > ABUT_US {
                let uri = playlist::without_token(&pair[1].uri);
                self.wrong.push(on(format!(
                    "{uri} begins {apart_us} us after the end of the entry before it"
                )));
            }
        }
        let mut new = Vec::new();
        for listed in &list.entries {
            match self.listed.get(&listed.sequence) {
                Some(known) if known.lasting() != listed.lasting() => {
                    let what = format!(
                        "entry {} was {} and is {}",
                        known.sequence,
                        known.lasting(),
                        listed.lasting()
                    );
                    self.wrong.push(on(what));
                }
                Some(_) => {}
                None => new.push(listed.clone()),
            }
            self.listed.insert(listed.sequence, listed.clone());
        }
        new
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each holder leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(first: u64, uris: &[&str]) -> Playlist {
        let entry = |(sequence, uri): (u64, &&str)| Listed {
            sequence,
            uri: format!("{uri}&token=t"),
            map: None,
            wall_us: sequence as i64 * 2_000_000,
            duration_us: 2_000_000,
            is_gap: false,
        };
        Playlist {
            is_ended: false,
            entries: (first..).zip(uris).map(entry).collect(),
            wrong: Vec::new(),
        }
    }

    fn sequences(new: &[Listed]) -> Vec<u64> {
        new.iter().map(|listed| listed.sequence).collect()
    }

    #[test]
    fn a_list_may_grow_and_move_on_and_name_other_inits() {
        let mut seen = Seen::default();
        let uris = [
            "cell.m4s?number=7&video=a",
            "cell.m4s?number=8&video=a",
            "cell.m4s?number=9&video=a",
        ];
        assert_eq!(
            sequences(&seen.compare(&list(0, &uris[..2]), "node1")),
            [0, 1]
        );
        assert_eq!(sequences(&seen.compare(&list(1, &uris[1..]), "node2")), [2]);
        assert!(
            seen.compare(&list(1, &["cell.m4s?number=8&video=b"]), "node3")
                .is_empty(),
            "it ends earlier"
        );
        assert_eq!(seen.wrong, [""; 0]);
    }

    #[test]
    fn what_must_not_change_is_named() {
        let wrong = |second: Playlist| {
            let mut seen = Seen::default();
            seen.compare(
                &list(5, &["cell.m4s?number=7", "cell.m4s?number=8"]),
                "node1",
            );
            seen.compare(&second, "node2");
            seen.wrong.join("; ")
        };
        let back = wrong(list(4, &["cell.m4s?number=6"]));
        assert_eq!(back, "EXT-X-MEDIA-SEQUENCE went back from 5 to 4 on node2");
        let other = wrong(list(6, &["cell.m4s?number=9"]));
        assert_eq!(
            other,
            "entry 6 was cell.m4s?number=8 and is cell.m4s?number=9 on node2"
        );
        assert!(
            !wrong(list(6, &["gap.m4s?number=8"])).is_empty(),
            "hls.js gives up at another path"
        );
        let mut torn = list(6, &["cell.m4s?number=8", "cell.m4s?number=9"]);
        torn.entries[1].wall_us += 40_000;
        assert!(wrong(torn).contains("begins 40000 us after the end of the entry before it"));
    }
}
