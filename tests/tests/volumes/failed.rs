//! A disk that answers with EIO: its cameras continue on the node's other volume, or on other
//! nodes, and the node uses the disk again once it is sound.

use crate::rig::{FAULTY, Rig, SOUND, cameras, one_disk, two_disks};
use holdfast_chaos::Result;
use holdfast_chaos::oracle::{count_all, expect_covered, expect_one_gap, expect_whole};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use std::time::Duration;
use tokio::time::sleep;

/// The data that the disk had not confirmed, and the time until the next keyframe.
const LOST_MAX: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cameras_of_a_failed_volume_go_to_the_other_one_and_it_is_taken_back() -> Result<()> {
    let Some(mut rig) = Rig::prepare(1, cameras(4, 500_000), two_disks).await? else {
        return Ok(());
    };
    rig.start().await?;
    let moving = rig.spread(4.0).await?;
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    rig.faulty.fail_writes(true)?;
    rig.wait_state(FAULTY, "failed").await?;
    rig.wait_cameras(SOUND, 4.0).await?;
    assert!(
        rig.is_in_state(SOUND, "active").await?,
        "the other volume is unharmed"
    );
    rig.site.wait_recorded_beyond(wall_now()).await?;
    sleep(Duration::from_secs(3)).await;
    rig.faulty.fail_writes(false)?;
    rig.wait_state(FAULTY, "active").await?;
    let counts = [
        rig.figure("holdfast_volume_failures_total", FAULTY),
        rig.figure("holdfast_volume_reattachments_total", FAULTY),
    ];
    for count in counts {
        assert_eq!(count.await?, 1.0);
    }
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    let verdicts = count_all(&mut rig.site, from, to).await?;
    let torn: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.loss.lost > 0)
        .collect();
    println!("lost with the volume: {torn:?}");
    assert!(
        torn.len() as f64 <= moving,
        "only cameras of the failed volume lose anything: {torn:?}"
    );
    torn.into_iter()
        .try_for_each(|verdict| expect_one_gap(verdict, LOST_MAX))?;
    for (camera, cause, length) in rig.gaps(from, to).await? {
        assert_eq!(
            (cause, length <= LOST_MAX),
            (GapCause::VolumeFailed, true),
            "{}: {length:?}",
            camera.name
        );
    }
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    takes_cameras_again(&mut rig).await?;
    rig.site.pass();
    Ok(())
}

/// The other volume fails, and the one in use again takes every camera.
async fn takes_cameras_again(rig: &mut Rig) -> Result<()> {
    crate::rig::rewrite(&rig.site, 0, |changed| {
        changed.storage.volumes[usize::from(SOUND)].retire = true
    })?;
    rig.wait_cameras(FAULTY, 4.0).await?;
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    expect_whole(&count_all(&mut rig.site, from, wall_now()).await?)?;
    let status = rig
        .site
        .cluster
        .stop(0, holdfast_chaos::site::STOP_TIMEOUT)
        .await?;
    assert!(status.success(), "an orderly stop: {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_node_has_no_other_volume_the_cluster_moves_the_cameras() -> Result<()> {
    let Some(mut rig) = Rig::prepare(2, cameras(4, 500_000), one_disk).await? else {
        return Ok(());
    };
    rig.start().await?;
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;
    let moved = rig.site.owned_by(0).await?.len();
    assert!(moved > 0, "the node with the faulty disk records nothing");
    rig.faulty.fail_writes(true)?;
    rig.site.wait_owns_nothing(0).await?;
    rig.site.wait_recorded_beyond(wall_now()).await?;
    assert!(rig.site.cluster.is_running(0), "the process stays up");
    rig.faulty.fail_writes(false)?;
    rig.wait_state(FAULTY, "active").await?;
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    let verdicts = count_all(&mut rig.site, from, to).await?;
    println!(
        "lost with the volume: {:?}",
        verdicts
            .iter()
            .filter(|verdict| verdict.loss.lost > 0)
            .collect::<Vec<_>>()
    );
    assert!(
        verdicts
            .iter()
            .filter(|verdict| verdict.loss.lost > 0)
            .count()
            <= moved
    );
    verdicts
        .iter()
        .try_for_each(|verdict| expect_one_gap(verdict, 2 * LOST_MAX))?;
    for camera in rig.site.cameras().to_vec() {
        expect_covered(&rig.site, 0, camera.id, from, to).await?;
    }
    rig.site.pass();
    Ok(())
}
