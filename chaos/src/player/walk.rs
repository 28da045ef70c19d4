//! Plays a presentation from beginning to end, once it is complete.

use super::fetch::{Fetcher, Node};
use super::playlist::{self, Listed, Playlist};
use super::{Kind, Showing};
use holdfast_node::terminal::clock::monotonic_now;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// How long after a range's end its playlist may be closed.
const CLOSED_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two looks at a playlist that is still open.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Plays the closed range through a node; `again` lists it a second time, and has to list the same.
pub(crate) async fn closed(
    mut fetcher: Fetcher,
    camera: &str,
    (node, again): (&Node, &Node),
    (from, to): (Timestamp, Timestamp),
) -> Showing {
    let mut showing = Showing {
        camera: camera.to_owned(),
        kind: Kind::Closed,
        asked: node.name.clone(),
        from_us: from.micros(),
        entries: Vec::new(),
        wrong: Vec::new(),
    };
    let query = format!("from={from}&to={to}");
    let first = match list(&fetcher, node, &query).await {
        Ok(list) => list,
        Err(error) => {
            showing.wrong.push(error);
            return showing;
        }
    };
    play(&mut fetcher, node, &first, &mut showing).await;
    match list(&fetcher, again, &query).await {
        Ok(second) => showing
            .wrong
            .extend(changed(&first.entries, &second.entries, &again.name)),
        Err(error) => showing.wrong.push(error),
    }
    showing
}

/// Plays a list that has grown since `from`, at `uri`.
pub(crate) async fn grown(
    mut fetcher: Fetcher,
    camera: &str,
    node: &Node,
    (uri, from): (&str, Timestamp),
) -> Showing {
    let mut showing = Showing {
        camera: camera.to_owned(),
        kind: Kind::Grown,
        asked: node.name.clone(),
        from_us: from.micros(),
        entries: Vec::new(),
        wrong: Vec::new(),
    };
    let list = fetcher
        .text(node, uri)
        .await
        .and_then(|text| playlist::parse(&text));
    match list {
        Ok(list) => play(&mut fetcher, node, &list, &mut showing).await,
        Err(error) => showing
            .wrong
            .push(format!("the growing list of {}: {error}", node.name)),
    }
    showing
}

/// The range's playlist once it is closed.
async fn list(fetcher: &Fetcher, node: &Node, query: &str) -> Result<Playlist, String> {
    let since = monotonic_now();
    loop {
        let said = |error: String| format!("the playlist of {}: {error}", node.name);
        let text = fetcher.open(node, query).await.map_err(said)?;
        // Until then it is a list of the one that grows.
        if playlist::first_variant(&text).is_none() {
            let list = playlist::parse(&text).map_err(said)?;
            return if list.is_ended {
                Ok(list)
            } else {
                Err(said("it has no EXT-X-ENDLIST".to_owned()))
            };
        }
        if since.elapsed() > CLOSED_TIMEOUT {
            return Err(said(format!(
                "after {} s it is still open",
                CLOSED_TIMEOUT.as_secs()
            )));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn play(fetcher: &mut Fetcher, node: &Node, list: &Playlist, showing: &mut Showing) {
    showing.wrong.extend(list.wrong.iter().cloned());
    for listed in &list.entries {
        match fetcher.entry(node, listed).await {
            Ok(entry) => showing.entries.push(entry),
            Err(error) => showing.wrong.push(error),
        }
    }
}

/// The first difference between the two lists.
fn changed(first: &[Listed], second: &[Listed], who: &str) -> Option<String> {
    let other = first
        .iter()
        .zip(second)
        .find(|(first, second)| first != second);
    match other {
        Some((first, second)) => Some(format!(
            "entry {} was {} and is {} on {who}",
            first.sequence,
            playlist::without_token(&first.uri),
            playlist::without_token(&second.uri)
        )),
        None if first.len() != second.len() => Some(format!(
            "the playlist had {} entries and has {} on {who}",
            first.len(),
            second.len()
        )),
        None => None,
    }
}
