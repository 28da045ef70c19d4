//! Plays odd and hostile cameras: `cargo run -p holdfast-camera --example odd -- [--h265] [--rate
//! MBIT_PER_S] NAME...`.
//!
//! Without names, lists them; `all` is every odd camera, `all-hostile` every hostile one. Prints a
//! URL for each and plays until interrupted. Each hostile camera sends at most 200 Mbit/s, unless
//! `--rate` says otherwise (0: unlimited).

use holdfast_camera::hostile::{HostileCamera, HostileOptions};
use holdfast_camera::{CameraOptions, CameraServer, Codec, Hostile, Oddity, Options};
use std::error::Error;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
struct Wanted {
    oddities: Vec<Oddity>,
    hostile: Vec<Hostile>,
    h265: bool,
    rate_mbps: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let wanted = wanted(std::env::args().skip(1))?;
    if wanted.oddities.is_empty() && wanted.hostile.is_empty() {
        list();
        return Ok(());
    }
    let handle = CameraServer::start(Options {
        cameras: cameras(&wanted),
        ..Options::default()
    })
    .await?;
    for (id, oddity) in (1..).zip(&wanted.oddities) {
        let login = oddity
            .login()
            .map(|(user, password)| format!("  (login {user}, {password})"))
            .unwrap_or_default();
        let transport = if oddity.needs_udp() {
            "  (over UDP)"
        } else {
            ""
        };
        println!("{}  {oddity}{login}{transport}", handle.url(id));
    }
    let mut gallery = Vec::new();
    for &hostile in &wanted.hostile {
        let plain = HostileOptions::new(hostile);
        let rate_bps_max = match wanted.rate_mbps {
            Some(0) => None,
            Some(rate) => Some(rate * 1_000_000),
            None => plain.rate_bps_max,
        };
        let camera = HostileCamera::start(&HostileOptions {
            rate_bps_max,
            ..plain
        })?;
        let transport = if hostile.needs_udp() {
            "  (over UDP)"
        } else {
            ""
        };
        println!("{}  {hostile}{transport}", camera.url());
        gallery.push(camera);
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn wanted(arguments: impl Iterator<Item = String>) -> Outcome<Wanted> {
    let mut wanted = Wanted::default();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--h265" => wanted.h265 = true,
            "--rate" => {
                wanted.rate_mbps = Some(arguments.next().ok_or("--rate needs a number")?.parse()?)
            }
            "all" => wanted.oddities.extend(Oddity::all()),
            "all-hostile" => wanted.hostile.extend(Hostile::ALL),
            name => match name.parse::<Oddity>() {
                Ok(oddity) => wanted.oddities.push(oddity),
                Err(_) => wanted.hostile.push(name.parse()?),
            },
        }
    }
    Ok(wanted)
}

fn cameras(wanted: &Wanted) -> Vec<CameraOptions> {
    let codec = |oddity: Oddity| {
        oddity.codec().unwrap_or(if wanted.h265 {
            Codec::H265
        } else {
            Codec::H264
        })
    };
    let camera = |(id, &oddity): (u32, &Oddity)| CameraOptions {
        codec: codec(oddity),
        bitrate_bps: 500_000,
        ..CameraOptions::odd(id, oddity)
    };
    (1..).zip(&wanted.oddities).map(camera).collect()
}

fn list() {
    for group in Oddity::GROUPS {
        println!("{group}:");
        for oddity in Oddity::all().filter(|oddity| oddity.group() == group) {
            println!(
                "  {:26}{} [{}]",
                oddity.name(),
                oddity.about(),
                oddity.source()
            );
        }
    }
    println!("hostile:");
    for hostile in Hostile::ALL {
        println!(
            "  {:26}{} [{}]",
            hostile.name(),
            hostile.about(),
            hostile.source()
        );
    }
}
