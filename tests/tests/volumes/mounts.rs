//! Real mounts that appear late, disappear, and cover each other, and read-only filesystems: in
//! every case no file of another volume is written, nothing is recorded where a disk should be
//! mounted, and the node serves.

use crate::rig::{cameras, disk, in_state, small, wait_in_state};
use holdfast_chaos::disk::Mount;
use holdfast_chaos::oracle::{count_all, expect_covered, expect_whole};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_node::config::{Config, Volume};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::disk::mark_new;
use holdfast_storage::offline::verify_volume;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

const STORE_BYTES: u64 = 512 << 20;
const SETTLE: Duration = Duration::from_secs(30);
/// Rounds of the scenario with many mounts.
const ROUNDS: u32 = 4;

/// One volume, in a folder over which a disk is mounted.
fn one_mount(_: usize, config: &mut Config) {
    small(config);
    config.storage.segment_seconds = 2;
    config.storage.volumes = vec![Volume::new(disk(config, "disk"))];
}

/// A node that records two cameras to its one disk. `None` if this process may not mount.
struct Story {
    site: Site,
    /// Contents of the volume, independent of where they are mounted.
    store: PathBuf,
    at: PathBuf,
    _filesystem: Mount,
}

impl Story {
    async fn prepare() -> Result<Option<Self>> {
        let site = Site::prepare(SiteOptions {
            nodes: 1,
            cameras: cameras(2, 500_000),
            tune: one_mount,
        })
        .await?;
        let (store, at) = (
            disk(site.cluster.config(0), "store"),
            disk(site.cluster.config(0), "disk"),
        );
        let Some(filesystem) = Mount::tmpfs(&store, STORE_BYTES)? else {
            eprintln!("LEFT OUT: mounts that come and go, because this process may not mount");
            site.pass();
            return Ok(None);
        };
        Ok(Some(Self {
            site,
            store,
            at,
            _filesystem: filesystem,
        }))
    }

    fn mount(&self) -> Result<Mount> {
        Ok(Mount::bind(&self.store, &self.at)?.expect("this process may mount"))
    }

    async fn form(&mut self) -> Result<()> {
        self.site.cluster.form().await?;
        self.site.add_all().await?;
        self.site.wait_recorded_beyond(wall_now()).await
    }

    async fn record_for(&mut self, seconds: u64) -> Result<(Timestamp, Timestamp)> {
        self.site.wait_recorded_beyond(wall_now()).await?;
        let from = wall_now();
        sleep(Duration::from_secs(seconds)).await;
        let to = wall_now();
        self.site.wait_recorded_beyond(to).await?;
        Ok((from, to))
    }

    async fn stop(&mut self) -> Result<()> {
        assert!(self.site.cluster.stop(0, STOP_TIMEOUT).await?.success());
        Ok(())
    }

    /// Checks that all of it can be played.
    async fn expect_kept(&mut self, (from, to): (Timestamp, Timestamp)) -> Result<()> {
        expect_whole(&count_all(&mut self.site, from, to).await?)?;
        for camera in self.site.cameras().to_vec() {
            expect_covered(&self.site, 0, camera.id, from, to).await?;
        }
        Ok(())
    }
}

/// Every segment file below a volume, with its checksum.
fn segments(volume: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for class in std::fs::read_dir(volume.join("segments")).expect("a volume") {
        for file in std::fs::read_dir(class.expect("a class").path()).expect("a class") {
            let path = file.expect("a segment").path();
            let bytes = std::fs::read(&path).expect("a segment");
            found.insert(path, crc32fast::hash(&bytes));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_mounted_when_the_node_starts_is_waited_for() -> Result<()> {
    let Some(mut story) = Story::prepare().await? else {
        return Ok(());
    };
    let mount = story.mount()?;
    story.form().await?;
    let recorded = story.record_for(3).await?;
    story.stop().await?;
    drop(mount);

    story.site.cluster.start(0)?;
    wait_in_state(&story.site, 0, "away").await?;
    wait::until("the node says what to do", SETTLE, async || {
        let api = story
            .site
            .cluster
            .api(0)
            .map_err(|error| error.to_string())?;
        match api.probe("/readyz").await {
            Err(error) if error.message.contains("is its disk mounted?") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        std::fs::read_dir(&story.at)
            .expect("the mount point")
            .count(),
        0,
        "nothing is written there"
    );
    assert!(!in_state(&story.site, 0, "active").await?);

    let _mount = story.mount()?;
    wait_in_state(&story.site, 0, "active").await?;
    story.record_for(1).await?;
    story.expect_kept(recorded).await?;
    story.site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_mounted_over_a_recording_volume_and_taken_away_again_loses_nothing_old()
-> Result<()> {
    let Some(mut story) = Story::prepare().await? else {
        return Ok(());
    };
    let mount = story.mount()?;
    story.form().await?;
    let first = story.record_for(6).await?;
    story.stop().await?;
    drop(mount);
    let old = segments(&story.store);

    // An operator mistakes the folder below the mount for the new disk.
    mark_new(&story.at).expect("the mount point can be written");
    story.site.cluster.start(0)?;
    wait_in_state(&story.site, 1, "active").await?;
    let mut recorded = vec![story.record_for(3).await?];
    for _ in 0..ROUNDS {
        let mount = story.mount()?;
        wait_in_state(&story.site, 0, "active").await?;
        recorded.push(story.record_for(3).await?);
        // Unmounted lazily, under a recording node.
        drop(mount);
        wait_in_state(&story.site, 1, "active").await?;
        recorded.push(story.record_for(3).await?);
    }
    story.stop().await?;

    let now = segments(&story.store);
    let changed: Vec<_> = old
        .iter()
        .filter(|(path, sum)| now.get(*path) != Some(sum))
        .collect();
    assert!(
        changed.is_empty(),
        "old footage was written to: {changed:?}"
    );
    for volume in [&story.store, &story.at] {
        let report = verify_volume(volume, |_| {}).expect("a volume");
        assert!(
            report.is_sound() && report.failed.is_empty() && report.unsealed_segments == 0,
            "{report:?}"
        );
    }
    // Both at once, each at a path of its own, show all of the footage.
    let path = story.site.cluster.config_path(0).to_owned();
    let mut config = Config::load(&path).expect("the node's configuration");
    config.storage.volumes.push(Volume::new(&story.store));
    std::fs::write(&path, toml::to_string(&config).expect("it can be written"))
        .expect("it can be written");
    story.site.cluster.start(0)?;
    story.site.cluster.wait_ready(0).await?;
    story.expect_kept(first).await?;
    for recorded in recorded {
        story.expect_kept(recorded).await?;
    }
    story.site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_keeps_no_node_from_starting_and_shows_what_it_holds() -> Result<()> {
    let Some(mut story) = Story::prepare().await? else {
        return Ok(());
    };
    let mount = story.mount()?;
    story.form().await?;
    let recorded = story.record_for(3).await?;
    // So that its open segment has no footer.
    story.site.cluster.kill(0).await?;
    drop(mount);
    let mount = Mount::bind_read_only(&story.store, &story.at)?.expect("this process may mount");
    let before = segments(&story.store);

    story.site.cluster.start(0)?;
    wait_in_state(&story.site, 0, "failed").await?;
    let played = wait::until("what it holds is played", SETTLE, async || {
        for camera in story.site.cameras() {
            expect_covered(&story.site, 0, camera.id, recorded.0, recorded.1)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    played.await?;
    assert_eq!(segments(&story.store), before);
    assert!(in_state(&story.site, 0, "failed").await?);

    drop(mount);
    let _mount = story.mount()?;
    wait_in_state(&story.site, 0, "active").await?;
    story.record_for(1).await?;
    story.expect_kept(recorded).await?;
    story.site.pass();
    Ok(())
}
