//! Cameras that cannot be recorded: each one's error has the reason, and the good one alongside
//! them loses no frame.

use holdfast_camera::{CameraOptions, Credentials, SdpKind};
use holdfast_chaos::oracle::{count_one, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions, source};
use holdfast_chaos::{Result, wait};
use holdfast_consensus::model::Transport;
use holdfast_control_api::wire::NewSource;
use holdfast_node::terminal::clock::wall_now;
use std::net::TcpListener;
use std::time::Duration;
use tokio::time::sleep;

/// Long enough for the bad ones to reconnect.
const A_WHILE: Duration = Duration::from_secs(5);

/// Names of cameras, and the text that their errors must contain.
const ERRORS: [(&str, &str); 7] = [
    ("unreachable", "camera unreachable"),
    ("wrong-path", "does not know this path"),
    ("wrong-password", "refused the user name or password"),
    ("no-video", "no video track"),
    ("mjpeg", "unsupported video codec"),
    ("vp8", "unsupported video codec"),
    ("absurd", "no video track"),
];

fn options() -> SiteOptions {
    let mut options = SiteOptions::new(1, 7);
    let credentials = Credentials::Basic {
        user: "admin".to_owned(),
        password: "right".to_owned(),
    };
    options.cameras[1] = CameraOptions {
        credentials,
        ..options.cameras[1].clone()
    };
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_camera_has_its_reason_and_the_good_one_loses_nothing() -> Result<()> {
    let mut site = Site::prepare(options()).await?;
    for (number, kind) in [
        (3, SdpKind::NoVideo),
        (4, SdpKind::Mjpeg),
        (5, SdpKind::Vp8),
        (6, SdpKind::Absurd),
    ] {
        camera(&site, number).set_sdp(kind);
    }
    site.cluster.form().await?;
    let good = site.add_served(1, "good", Transport::Tcp).await?;
    site.wait_these_recorded_beyond(&[good.id], wall_now())
        .await?;
    let from = wall_now();
    add_bad(&mut site).await?;
    for (name, expected) in ERRORS {
        let error = error_of(&site, name, expected).await?;
        println!("{name}: {error}");
    }
    sleep(A_WHILE).await;
    let to = wall_now();
    site.wait_these_recorded_beyond(&[good.id], to.plus(Duration::from_secs(1)))
        .await?;
    expect_whole([&count_one(&mut site, &good, from, to).await?])?;
    repaired(&mut site).await?;
    site.pass();
    Ok(())
}

fn camera(site: &Site, number: u32) -> holdfast_camera::CameraHandle {
    site.server().camera(number).expect("it is served")
}

async fn add_bad(site: &mut Site) -> Result<()> {
    // A port that no process listens on any more.
    let unused = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let url = |number| site.server().url(number);
    let wrong_password = NewSource {
        username: Some("admin".to_owned()),
        password: Some("wrong".to_owned()),
        ..source(url(2))
    };
    let sources = [
        ("unreachable", source(format!("rtsp://{unused}/cam/1"))),
        ("wrong-path", source(url(4711))),
        ("wrong-password", wrong_password),
        ("no-video", source(url(3))),
        ("mjpeg", source(url(4))),
        ("vp8", source(url(5))),
        ("absurd", source(url(6))),
        ("garbage", source(url(7))),
    ];
    camera(site, 7).garbage_frames(u32::MAX);
    for (name, source) in sources {
        site.add(name, source).await?;
    }
    Ok(())
}

async fn error_of(site: &Site, name: &str, expected: &str) -> Result<String> {
    wait::until(
        &format!("the camera `{name}` has its reason"),
        SETTLE_TIMEOUT,
        async || {
            let look = site.ask(0).await.map_err(|error| error.to_string())?;
            let recording = look
                .cameras
                .iter()
                .find(|camera| camera.name == name)
                .map(|camera| camera.recording.clone());
            let error = recording
                .as_ref()
                .and_then(|recording| recording.error.clone());
            error
                .filter(|error| error.contains(expected))
                .ok_or_else(|| format!("{recording:?}"))
        },
    )
    .await
}

/// The fault was the camera's: once it is well, it is recorded without help.
async fn repaired(site: &mut Site) -> Result<()> {
    camera(site, 3).set_sdp(SdpKind::Honest);
    camera(site, 7).garbage_frames(0);
    let look = site.ask(0).await?;
    let well = |name: &str| ["no-video", "garbage"].contains(&name);
    let ids: Vec<_> = look
        .cameras
        .iter()
        .filter(|camera| well(&camera.name))
        .map(|camera| camera.id)
        .collect();
    site.wait_these_recorded_beyond(&ids, wall_now()).await
}
