//! Cameras that cannot be recorded as configured: each error says what to do.

use holdfast_camera::{CameraOptions, Oddity};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions, source};
use holdfast_chaos::{Result, wait};
use holdfast_consensus::model::Transport;
use holdfast_control_api::wire::NewSource;

/// Oddity, configured transport, words that the error has.
const REFUSED: [(&str, Transport, &[&str]); 4] = [
    ("tcp-refused", Transport::Tcp, &["UDP", "transport", "udp"]),
    ("udp-refused", Transport::Udp, &["TCP", "transport", "tcp"]),
    ("digest-sha256", Transport::Tcp, &["user name", "password"]),
    (
        "basic-offered-first",
        Transport::Tcp,
        &["user name", "password"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_refused_in_words_that_help() -> Result<()> {
    let oddity = |name: &str| name.parse::<Oddity>().unwrap();
    let cameras = (1..)
        .zip(REFUSED)
        .map(|(id, (name, ..))| CameraOptions::odd(id, oddity(name)))
        .collect();
    let mut site = Site::prepare(SiteOptions {
        cameras,
        ..SiteOptions::new(1, 0)
    })
    .await?;
    site.cluster.form().await?;
    for (number, (name, transport, _)) in (1..).zip(REFUSED) {
        // Without the login that some demand.
        site.add(
            name,
            NewSource {
                transport,
                ..source(site.server().url(number))
            },
        )
        .await?;
    }
    let mut wrong = Vec::new();
    for (name, _, words) in REFUSED {
        let what = format!("`{name}` is refused");
        let shown = wait::until(&what, SETTLE_TIMEOUT, async || {
            let look = site.ask(0).await.map_err(|error| error.to_string())?;
            let found = look.cameras.into_iter().find(|camera| camera.name == name);
            found
                .and_then(|camera| camera.recording.error)
                .ok_or_else(|| "no error is shown".to_owned())
        })
        .await?;
        println!("{name}: {shown}");
        wrong.extend(
            (!words.iter().all(|word| shown.contains(word))).then(|| format!("{name}: {shown}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.pass();
    Ok(())
}
