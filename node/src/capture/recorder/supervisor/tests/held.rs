//! Cameras that are held back.

use super::*;
use holdfast_consensus::observe::heartbeat::Exposure;

fn held(camera: &ScriptedCamera, treatment: Treatment) -> DesiredRecording {
    DesiredRecording {
        treatment,
        ..want(camera, 1)
    }
}

fn plays(camera: &ScriptedCamera) -> u32 {
    camera.plays.load(std::sync::atomic::Ordering::SeqCst)
}

#[tokio::test]
async fn suspects_are_recorded_after_all_others_one_at_a_time() {
    // The one that is no suspect does not answer for a while.
    let silent = ScriptedCamera::start(Script {
        silent: true,
        ..Script::default()
    });
    let suspects = [
        ScriptedCamera::start(Script::default()),
        ScriptedCamera::start(Script::default()),
    ];
    let site = site_with(Arc::new(PlainMux), Duration::from_millis(500));
    let all = [
        (1, held(&suspects[0], Treatment::Suspect)),
        (2, held(&suspects[1], Treatment::Suspect)),
        (3, want(&silent, 1)),
    ];
    site.desire(&all);
    let played = || suspects.iter().map(plays).sum::<u32>();
    site.until("the other was tried", |site| {
        site.status(3)
            .is_some_and(|status| status.counts.failures > 0)
    })
    .await;
    let exposures = |site: &Site| [1, 2].map(|camera| site.status(camera).unwrap().exposure);
    site.until("a suspect in its turn", |site| {
        exposures(site).contains(&Some(Exposure::OnTrial))
    })
    .await;
    assert!(played() <= 1, "two at once");
    site.until("both proven", |site| {
        exposures(site) == [Some(Exposure::Proven); 2]
    })
    .await;
    assert_eq!(played(), 2);
    let sink = site.end().await;
    let waited = sink
        .outages()
        .iter()
        .filter(|gap| gap.2 == GapCause::Quarantined)
        .count();
    assert_eq!(waited, 2, "both waited: {:?}", sink.outages());
}

#[tokio::test]
async fn who_is_in_quarantine_is_not_connected_to_until_it_is_released() {
    let camera = ScriptedCamera::start(Script::default());
    let site = site(Arc::new(PlainMux));
    let until = Timestamp(1_795_341_600_000_000);
    site.desire(&[(1, held(&camera, Treatment::Quarantined { until }))]);
    let is_shown = |site: &Site| {
        site.status(1)
            .is_some_and(|status| status.state == RecorderState::Failing)
    };
    site.until("it is shown", is_shown).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = site.status(1).unwrap();
    let why = status.error.unwrap();
    assert!(
        why.contains("quarantine until 2026-11-22") && why.contains("holdfast camera release 1"),
        "{why}"
    );
    assert_eq!((plays(&camera), status.exposure), (0, None));
    site.desire(&[(1, held(&camera, Treatment::Usual))]);
    site.recording(1, 10).await;
    assert_eq!(site.status(1).unwrap().exposure, Some(Exposure::Fresh));
    let sink = site.end().await;
    assert_eq!(
        sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
        [GapCause::Quarantined]
    );
}

#[tokio::test]
async fn a_session_that_runs_is_not_ended_by_suspicion() {
    let camera = ScriptedCamera::start(Script::default());
    let site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&camera, 1))]);
    site.recording(1, 10).await;
    site.desire(&[(1, held(&camera, Treatment::Suspect))]);
    site.recording(1, 60).await;
    let sink = site.end().await;
    assert_eq!((plays(&camera), sink.gaps().len()), (1, 0));
}

#[tokio::test]
async fn a_fresh_session_is_left_when_the_camera_goes_into_quarantine() {
    let camera = ScriptedCamera::start(Script::default());
    let site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&camera, 1))]);
    site.recording(1, 10).await;
    let quarantined = |seconds: i64| Treatment::Quarantined {
        until: Timestamp(1_795_341_600_000_000 + seconds * 1_000_000),
    };
    site.desire(&[(1, held(&camera, quarantined(0)))]);
    let is_left = |site: &Site| {
        site.status(1).is_some_and(|status| {
            status.state == RecorderState::Failing && status.exposure.is_none()
        })
    };
    site.until("it is left", is_left).await;
    // A longer one changes nothing.
    site.desire(&[(1, held(&camera, quarantined(60)))]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_left(&site) && plays(&camera) == 1);
    site.desire(&[(1, held(&camera, Treatment::Usual))]);
    site.until("it is played again", |_| plays(&camera) == 2)
        .await;
    let sink = site.end().await;
    assert_eq!(
        sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
        [GapCause::Quarantined]
    );
}
