//! A disk that hangs for half a minute: nothing waits for it, its cameras move elsewhere, and the
//! accepted footage is there once it continues.

use crate::rig::{FAULTY, Rig, SOUND, cameras, disk, one_disk, two_disks};
use holdfast_chaos::faulty::{FaultyDisk, Filesystem};
use holdfast_chaos::oracle::{count_all, count_one, expect_covered, expect_whole};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Error, Result, wait};
use holdfast_node::config::{ByteSize, Config, Volume};
use holdfast_node::terminal::clock::{monotonic_now, wall_now};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const DATA_DIR_BYTES: u64 = 256 << 20;

const HANG: Duration = Duration::from_secs(30);

/// The longest that any request to the node may take while a disk hangs.
const ANSWER_MAX: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_of_half_a_minute_loses_no_frame_and_holds_nothing_up() -> Result<()> {
    let Some(mut rig) = Rig::prepare(1, cameras(4, 500_000), two_disks).await? else {
        return Ok(());
    };
    rig.start().await?;
    rig.spread(4.0).await?;
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    rig.faulty.hang(true)?;
    let hung_at = monotonic_now();
    rig.wait_state(FAULTY, "hung").await?;
    rig.wait_cameras(SOUND, 4.0).await?;
    rig.site.wait_recorded_beyond(wall_now()).await?;
    assert!(
        rig.is_in_state(SOUND, "active").await?,
        "the other volume is unharmed"
    );
    let moved_at = wall_now();
    sleep(Duration::from_secs(3)).await;
    answers(&mut rig.site, moved_at).await?;
    sleep(HANG.saturating_sub(hung_at.elapsed())).await;
    rig.faulty.hang(false)?;
    rig.wait_state(FAULTY, "active").await?;
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    let verdicts = count_all(&mut rig.site, from, to).await?;
    expect_whole(&verdicts)?;
    assert!(
        verdicts.iter().all(|verdict| verdict.loss.doubled == 0),
        "{verdicts:?}"
    );
    assert!(
        rig.gaps(from, to).await?.is_empty(),
        "what was late is no gap any more: {:?}",
        rig.gaps(from, to).await?
    );
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    assert_eq!(
        rig.figure("holdfast_volume_reattachments_total", FAULTY)
            .await?,
        1.0
    );
    let page = rig.site.metrics(0).await?;
    assert_eq!(
        holdfast_chaos::prometheus::sum(&page, "holdfast_shed_chunks_total", None),
        Some(0.0)
    );
    rig.site.pass();
    Ok(())
}

/// While the disk hangs, footage on the other volume is listed and played.
async fn answers(site: &mut Site, from: Timestamp) -> Result<()> {
    let to = wall_now();
    site.wait_recorded_beyond(to.plus(Duration::from_secs(2)))
        .await?;
    let asked_at = monotonic_now();
    let camera = site.cameras()[0].clone();
    expect_whole([&count_one(site, &camera, from.plus(Duration::from_secs(1)), to).await?])?;
    site.timeline(0, camera.id, from, to).await?;
    site.metrics(0).await?;
    site.ask(0).await?;
    let took = asked_at.elapsed();
    assert!(took < 4 * ANSWER_MAX, "four questions took {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_and_stops_while_a_disk_hangs() -> Result<()> {
    let Some(mut rig) = Rig::prepare(1, cameras(2, 500_000), two_disks).await? else {
        return Ok(());
    };
    rig.start().await?;
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;
    assert!(rig.site.cluster.stop(0, STOP_TIMEOUT).await?.success());
    rig.faulty.hang(true)?;
    let started_at = monotonic_now();
    rig.site.cluster.start(0)?;
    rig.site.cluster.wait_ready(0).await?;
    println!("ready {:?} after the start", started_at.elapsed());
    rig.wait_state(FAULTY, "opening").await?;
    rig.wait_cameras(SOUND, 2.0).await?;
    rig.site.wait_recorded_beyond(wall_now()).await?;
    rig.faulty.hang(false)?;
    rig.wait_state(FAULTY, "active").await?;
    let to = wall_now();
    count_all(&mut rig.site, from, to).await?;
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    stops_in_time(&mut rig).await?;
    rig.site.pass();
    Ok(())
}

/// The kernel keeps a process whose requests hang; the node itself has finished.
async fn stops_in_time(rig: &mut Rig) -> Result<()> {
    crate::rig::rewrite(&rig.site, 0, |config| {
        config.storage.volumes[usize::from(SOUND)].retire = true
    })?;
    rig.wait_cameras(FAULTY, 2.0).await?;
    rig.faulty.hang(true)?;
    sleep(Duration::from_secs(1)).await;
    rig.site.cluster.signal(0, rustix::process::Signal::TERM)?;
    wait::until("the node says that it is done", STOP_TIMEOUT, async || {
        let tail = rig.site.cluster.log_tail(0);
        if tail.contains("did not stop cleanly") && tail.contains("its disk hangs") {
            Ok(())
        } else {
            Err(tail)
        }
    })
    .await?;
    rig.faulty.hang(false)?;
    ends(&mut rig.site).await
}

async fn ends(site: &mut Site) -> Result<()> {
    wait::until("the process is gone", STOP_TIMEOUT, async || {
        if site.cluster.is_running(0) {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    })
    .await
}

fn volume_elsewhere(_: usize, config: &mut Config) {
    config.storage.volumes = vec![Volume::new(disk(config, "volume"))];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_dir_that_hangs_holds_up_neither_recording_nor_the_nodes_end() -> Result<()> {
    let site = Site::prepare(SiteOptions {
        nodes: 1,
        cameras: cameras(2, 500_000),
        tune: volume_elsewhere,
    })
    .await?;
    let data_dir = site.cluster.config(0).data_dir.clone();
    let Some(faulty) =
        FaultyDisk::mount(&data_dir, DATA_DIR_BYTES, Filesystem::Ext4WithoutJournal)?
    else {
        site.pass();
        return Ok(());
    };
    // Dropped in the order that is necessary: the disk continues, the processes end, and then the
    // disk can be dismantled.
    let mut site = site;
    let _resumes = faulty.resumes_on_drop();
    site.cluster.form().await?;
    site.add_all().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    faulty.hang(true)?;
    // The log waits for its flush from here on.
    let asked =
        json!({"camera": site.cameras()[0].id, "from": wall_now(), "to": null, "reason": "case 7"});
    let answer = timeout(
        ANSWER_MAX,
        site.api()?.call(Method::POST, &["holds"], Some(&asked)),
    )
    .await;
    assert!(
        answer.is_err() || answer.is_ok_and(|answer| answer.is_err()),
        "a change was decided that is nowhere durable"
    );
    site.wait_recorded_beyond(wall_now()).await?;
    site.cluster.signal(0, rustix::process::Signal::TERM)?;
    wait::until("the node leaves its log behind", STOP_TIMEOUT, async || {
        let tail = site.cluster.log_tail(0);
        if tail.contains("what waits for the disk of data_dir is left behind") {
            Ok(())
        } else {
            Err(tail)
        }
    })
    .await?;
    faulty.hang(false)?;
    ends(&mut site).await?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_node_has_no_other_volume_the_cluster_moves_the_cameras_without_loss()
-> Result<()> {
    let Some(mut rig) = Rig::prepare(2, cameras(4, 500_000), one_disk).await? else {
        return Ok(());
    };
    rig.start().await?;
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;
    if rig.site.owned_by(0).await?.is_empty() {
        return Err(Error::Wrong(
            "the node with the faulty disk records nothing".to_owned(),
        ));
    }
    rig.faulty.hang(true)?;
    rig.site.wait_owns_nothing(0).await?;
    rig.site.wait_recorded_beyond(wall_now()).await?;
    rig.faulty.hang(false)?;
    rig.wait_state(FAULTY, "active").await?;
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    expect_whole(&count_all(&mut rig.site, from, to).await?)?;
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    rig.site.pass();
    Ok(())
}

/// Bits per second that fill a buffer in a few seconds.
const HIGH_BPS: u64 = 15_000_000;

fn small_buffer(index: usize, config: &mut Config) {
    one_disk(index, config);
    config.storage.buffer_bytes_max = ByteSize(BUFFER_BYTES);
}

const BUFFER_BYTES: u64 = 20 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_another_node_the_least_important_is_shed_and_memory_is_bounded() -> Result<()> {
    let Some(mut rig) = Rig::prepare(1, cameras(2, HIGH_BPS), small_buffer).await? else {
        return Ok(());
    };
    rig.start().await?;
    for (camera, priority) in rig.site.cameras().iter().zip([0, 255]) {
        let path = format!("cameras/{}", camera.id);
        let answer = rig
            .site
            .send(
                0,
                Method::PATCH,
                &path,
                Some(&json!({ "priority": priority })),
            )
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    rig.faulty.hang(true)?;
    rig.wait_state(FAULTY, "hung").await?;
    let mut queued_most: f64 = 0.0;
    for _ in 0..24 {
        queued_most = queued_most.max(rig.figure("holdfast_volume_queued_bytes", FAULTY).await?);
        sleep(Duration::from_millis(500)).await;
    }
    println!("at most {queued_most} bytes were queued");
    assert!(
        queued_most > 0.5 * BUFFER_BYTES as f64 && queued_most <= BUFFER_BYTES as f64,
        "{queued_most}"
    );
    rig.faulty.hang(false)?;
    rig.wait_state(FAULTY, "active").await?;
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    let verdicts = count_all(&mut rig.site, from, to).await?;
    let lost: Vec<u64> = verdicts.iter().map(|verdict| verdict.loss.lost).collect();
    println!("frames lost by priority 0 and 255: {lost:?}");
    assert!(
        lost[0] > lost[1],
        "the least important loses more: {verdicts:?}"
    );
    let gaps = rig.gaps(from, to).await?;
    assert!(
        gaps.iter().any(|(camera, ..)| camera.handle.id() == 1),
        "shed footage is reported"
    );
    for (camera, cause, _) in gaps {
        assert!(
            matches!(cause, GapCause::VolumeFailed | GapCause::Overload),
            "{}: {cause:?}",
            camera.name
        );
    }
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    rig.site.pass();
    Ok(())
}
