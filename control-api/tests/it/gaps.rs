//! The gap ledger: every gap of every camera's timeline, once, and their totals.

use crate::support::client::Client;
use crate::support::fake::{Fake, T0};
use holdfast_control_api::wire::{CameraGap, Gap, GapLedger, Timeline};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

const CAUSES: [GapCause; 4] = [
    GapCause::CameraUnreachable,
    GapCause::CameraStalled,
    GapCause::NodeDown,
    GapCause::Overload,
];
const DAY_US: i64 = 24 * 3_600_000_000;

fn seeded(seed: u8) -> TestRng {
    TestRng::from_seed(RngAlgorithm::XorShift, &[seed; 16])
}

/// Consecutive gaps of up to some hours over 40 days.
fn holes(rng: &mut TestRng) -> Vec<Gap> {
    let mut at = T0;
    let mut holes = Vec::new();
    while at < T0.plus_micros(40 * DAY_US) {
        let start = at.plus_micros(rng.random_range(0..DAY_US));
        let end = start.plus_micros(rng.random_range(1..DAY_US / 4));
        let node = Some(NodeId(rng.random_range(1..4))).filter(|_| rng.random_bool(0.9));
        let cause = CAUSES[rng.random_range(0..CAUSES.len())];
        let frames_missing = (cause == GapCause::Overload).then(|| rng.random_range(1..1000));
        holes.push(Gap {
            start,
            end,
            cause,
            node,
            frames_missing,
        });
        at = end;
    }
    holes
}

fn site(rng: &mut TestRng, cameras: u32) -> Fake {
    let fake = Fake::with_cameras(cameras);
    for camera in 1..=cameras {
        let holes = holes(rng);
        fake.with(|state| state.holes.insert(CameraId(camera), holes));
    }
    fake
}

/// All pages of a query.
async fn ledger(client: &Client, query: &str) -> (Vec<CameraGap>, usize) {
    let (mut gaps, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = client.get(&format!("/api/v1/gaps?{query}{after}")).await;
        let page: GapLedger = serde_json::from_value(answer.json()).unwrap();
        assert_eq!(page.nodes_left_out, [NodeId(2)]);
        let (summed, counted) = page.sums.iter().fold((0, 0), |sum, one| {
            (sum.0 + one.duration_us, sum.1 + one.gaps)
        });
        assert_eq!(
            (summed, counted),
            (
                page.gaps.iter().map(|gap| gap.duration_us).sum(),
                page.gaps.len()
            )
        );
        gaps.extend(page.gaps);
        pages += 1;
        match page.next_after {
            Some(camera) => after = format!("&after={camera}"),
            None => return (gaps, pages),
        }
    }
}

async fn timeline(client: &Client, camera: u32, range: &str) -> Timeline {
    let answer = client
        .get(&format!("/api/v1/cameras/{camera}/timeline?{range}"))
        .await;
    serde_json::from_value(answer.json()).unwrap()
}

#[tokio::test]
async fn the_ledger_is_the_sum_of_the_timelines() {
    let mut rng = seeded(7);
    let cameras = 20;
    let client = Client::of(&site(&mut rng, cameras));
    let mut counted = 0;
    for _ in 0..40 {
        let from = T0.plus_micros(rng.random_range(0..9 * DAY_US));
        let to = from.plus_micros(rng.random_range(1..=31 * DAY_US));
        let range = format!("from={from}&to={to}");
        let (ledger_gaps, _) = ledger(&client, &range).await;
        let mut expected = Vec::new();
        for camera in 1..=cameras {
            let of_one = timeline(&client, camera, &range).await;
            assert_eq!(
                ledger(&client, &format!("{range}&camera={camera}")).await.0,
                ledger_gaps
                    .iter()
                    .filter(|gap| gap.camera == CameraId(camera))
                    .cloned()
                    .collect::<Vec<_>>()
            );
            expected.extend(of_one.gaps.into_iter().map(|gap| {
                (
                    camera,
                    gap.start,
                    gap.end,
                    gap.cause,
                    gap.node,
                    gap.frames_missing,
                )
            }));
        }
        let ledger_gaps: Vec<_> = ledger_gaps
            .into_iter()
            .map(|gap| {
                (
                    gap.camera.0,
                    gap.start,
                    gap.end,
                    gap.cause,
                    gap.node,
                    gap.frames_missing,
                )
            })
            .collect();
        assert_eq!(ledger_gaps, expected, "{range}");
        counted += ledger_gaps
            .iter()
            .filter(|(.., frames_missing)| frames_missing.is_some())
            .count();
    }
    assert!(counted > 0, "some gaps are of so many frames");
}

#[tokio::test]
async fn causes_and_nodes_are_filtered_and_long_ranges_come_in_pages() {
    let client = Client::of(&site(&mut seeded(8), 20));
    let range = format!("from={T0}&to={}", T0.plus_micros(31 * DAY_US));
    let (all, pages) = ledger(&client, &range).await;
    assert_eq!(pages, 3);
    let (down, _) = ledger(&client, &format!("{range}&cause=node_down&node=2")).await;
    let wanted = |gap: &&CameraGap| gap.cause == GapCause::NodeDown && gap.node == Some(NodeId(2));
    assert_eq!(down, all.iter().filter(wanted).cloned().collect::<Vec<_>>());
    assert!(!down.is_empty() && down.len() < all.len());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let client = Client::of(&Fake::new());
    let end = |days: i64| -> Timestamp { T0.plus_micros(days * DAY_US) };
    for (query, refusal) in [
        (format!("to={T0}"), (422, "range-missing")),
        (format!("from={T0}&to={T0}"), (422, "range-empty")),
        (format!("from={T0}&to={}", end(32)), (422, "range-too-long")),
        (
            format!("from={T0}&to={}&cause=weather", end(1)),
            (400, "malformed"),
        ),
        (
            format!("from={T0}&to={}&cameras=1", end(1)),
            (400, "malformed"),
        ),
    ] {
        let answer = client.get(&format!("/api/v1/gaps?{query}")).await;
        assert_eq!(
            answer.refusal(),
            (refusal.0, refusal.1.to_owned()),
            "{query}"
        );
    }
}
