//! A nearly full cluster: it warns, refuses changes if configured to, and lets the least important
//! cameras wait.

use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions, new_camera, source};
use holdfast_chaos::web::Answer;
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_consensus::decide::placement::Lack;
use holdfast_control_api::wire::{Camera, NewCamera};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;

/// Three nodes with room for two cameras each: any two of them record four.
const CAPACITY: u32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_headroom_is_reported_refused_or_waited_for() -> Result<()> {
    let mut options = SiteOptions::new(3, 4);
    options.tune = |index, config| {
        config.cluster.camera_capacity = CAPACITY;
        config
            .cluster
            .labels
            .insert("node".to_owned(), index.to_string());
    };
    let mut site = Site::start(options).await?;
    site.wait_one_recorder_each().await?;
    wait_headroom(&mut site, "enough", |look| {
        look.survives_any_node && look.spare_cameras == 0
    })
    .await?;

    // There is room for a fifth now, but there would be none after a node's death.
    let fifth = add(
        &site,
        &NewCamera {
            priority: 10,
            ..camera(&site, "fifth")
        },
    )
    .await?;
    assert_eq!(fifth.status, 201, "{}", fifth.text());
    let fifth: Camera = serde_json::from_str(&fifth.text()).expect("a camera");
    let warned = |warning: &String| warning.contains("died now, 1 camera would not be recorded");
    assert!(fifth.warnings.iter().any(warned), "{:?}", fifth.warnings);
    site.wait_these_recorded_beyond(&[fifth.id], wall_now())
        .await?;
    wait_headroom(&mut site, "not enough", |look| {
        !look.survives_any_node
            && look
                .worst
                .as_ref()
                .is_some_and(|worst| worst.cameras_lost == 1)
    })
    .await?;
    let metrics = site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(&metrics, "holdfast_failover_headroom_survives_info", None),
        Some(0.0)
    );

    strict_refuses(&mut site).await?;

    // A node dies: the least important camera waits and reports the reason; the others are
    // recorded.
    let leader = site.leader().await?;
    let dead = (leader + 1) % 3;
    site.cluster.kill(dead).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    wait::until("the fifth waits for capacity", SETTLE_TIMEOUT, async || {
        let look = site.ask(leader).await.map_err(|error| error.to_string())?;
        let reported = look
            .cameras
            .into_iter()
            .find(|camera| camera.id == fifth.id)
            .ok_or("it is gone")?
            .recording;
        if reported.waits_for == Some(Lack::Capacity) {
            Ok(())
        } else {
            Err(format!("{reported:?}"))
        }
    })
    .await?;
    site.cluster.start(dead)?;
    site.cluster.wait_ready(dead).await?;
    site.wait_these_recorded_beyond(&[fifth.id], wall_now())
        .await?;
    restored_at_once(&mut site).await?;
    site.pass();
    Ok(())
}

async fn strict_refuses(site: &mut Site) -> Result<()> {
    let strict = serde_json::json!({ "headroom": "strict" });
    // Whether or not the node that is asked next has heard of it.
    let answer = site
        .send(2, Method::PATCH, "settings", Some(&strict))
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sixth = add(site, &camera(site, "sixth")).await?;
    let problem = sixth
        .problem()
        .unwrap_or_else(|| panic!("{} {}", sixth.status, sixth.text()));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "no-headroom"),
        "{problem:?}"
    );
    assert_eq!(site.look().await?.cameras.len(), 5);

    // Where no node with these labels is, no node can lose it either; it waits for one.
    let answer = site
        .send(
            1,
            Method::PATCH,
            "settings",
            Some(&serde_json::json!({ "headroom": "warn" })),
        )
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let nowhere = [("node".to_owned(), "9".to_owned())].into();
    let lost = add(
        site,
        &NewCamera {
            node_labels: nowhere,
            ..camera(site, "unreachable")
        },
    )
    .await?;
    let lost: Camera = serde_json::from_str(&lost.text()).expect("a camera");
    wait::until("it waits for a node", SETTLE_TIMEOUT, async || {
        let look = site.look().await.map_err(|error| error.to_string())?;
        let reported = look
            .cameras
            .into_iter()
            .find(|camera| camera.id == lost.id)
            .ok_or("it is gone")?
            .recording;
        if reported.waits_for == Some(Lack::Node) {
            Ok(())
        } else {
            Err(format!("{reported:?}"))
        }
    })
    .await?;
    let answer = site
        .send(
            0,
            Method::DELETE,
            &format!("cameras/{}", lost.id),
            None::<&()>,
        )
        .await?;
    assert_eq!(answer.status, 204, "{}", answer.text());
    Ok(())
}

/// Its effect was computed before the other node was back: it has to be computed again.
async fn restored_at_once(site: &mut Site) -> Result<()> {
    let cameras = site.look().await?.cameras;
    let deleted: Vec<_> = cameras
        .iter()
        .take(3)
        .map(|camera| format!("cameras/{}", camera.id))
        .collect();
    for path in &deleted {
        let answer = site.send(0, Method::DELETE, path, None::<&()>).await?;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let strict = serde_json::json!({ "headroom": "strict" });
    let answer = site
        .send(1, Method::PATCH, "settings", Some(&strict))
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (site, no_change) = (&*site, serde_json::json!({}));
    let restore = async |asked: usize, path: &String| {
        let answer = site
            .send(
                asked,
                Method::POST,
                &format!("{path}/restore"),
                Some(&no_change),
            )
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok::<_, holdfast_chaos::Error>(())
    };
    let (first, second) = tokio::join!(restore(0, &deleted[0]), restore(1, &deleted[1]));
    first.and(second)
}

fn camera(site: &Site, name: &str) -> NewCamera {
    new_camera(name, source(site.server().url(1)))
}

async fn add(site: &Site, camera: &NewCamera) -> Result<Answer> {
    site.send(1, Method::POST, "cameras", Some(camera)).await
}

async fn wait_headroom(
    site: &mut Site,
    what: &str,
    holds: impl Fn(&holdfast_control_api::wire::FailoverHeadroom) -> bool,
) -> Result<()> {
    wait::until(
        &format!("the headroom is {what}"),
        SETTLE_TIMEOUT,
        async || {
            let headroom = site
                .look()
                .await
                .map_err(|error| error.to_string())?
                .cluster
                .failover_headroom;
            if headroom.as_ref().is_some_and(&holds) {
                Ok(())
            } else {
                Err(format!("{headroom:?}"))
            }
        },
    )
    .await
}
