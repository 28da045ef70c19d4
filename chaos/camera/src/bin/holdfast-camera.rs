//! `holdfast-camera`: test cameras in a process of their own, controlled by lines on standard
//! input.

use clap::{Parser, ValueEnum};
use holdfast_camera::control::Command;
use holdfast_camera::{
    CLIP_GOP_FRAMES, CameraOptions, CameraServer, Credentials, Handle, Options, Sound,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

/// Plays simulated IP cameras over RTSP at rtsp://BIND:PORT/cam/1 and so on.
///
/// Standard input takes commands such as `freeze 3` or `drop-frames 3 10` (any unknown command
/// lists them all); the answer to each is one line. Runs until interrupted; the end of standard
/// input does not end it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Number of cameras; their ids count from 1.
    #[arg(long, default_value_t = 1)]
    cameras: u32,
    /// Bitrate of each camera's video, in bit/s.
    #[arg(long, default_value_t = 2_000_000)]
    bitrate: u64,
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Frames from keyframe to keyframe.
    #[arg(long, default_value_t = CLIP_GOP_FRAMES)]
    gop: u32,
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// 0 chooses any free port, printed at the start.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, requires = "password")]
    user: Option<String>,
    #[arg(
        long,
        requires = "user",
        env = "HOLDFAST_CAMERA_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    #[arg(long, value_enum, default_value_t = Auth::Digest)]
    auth: Auth,
    /// Adds a second track with a tone.
    #[arg(long, value_enum)]
    sound: Option<SoundName>,
    /// Sessions start at a keyframe instead of the current frame.
    #[arg(long)]
    start_at_keyframe: bool,
    /// Repeats the phases and session numbers of another run.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Auth {
    Digest,
    Basic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SoundName {
    G711,
    Aac,
}

impl SoundName {
    fn sound(self) -> Sound {
        match self {
            Self::G711 => Sound::MuLaw,
            Self::Aac => Sound::Aac,
        }
    }
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            bind: SocketAddr::new(self.bind, self.port),
            cameras: (1..=self.cameras).map(|id| self.camera(id)).collect(),
            seed: self.seed,
        }
    }

    fn camera(&self, id: u32) -> CameraOptions {
        CameraOptions {
            bitrate_bps: self.bitrate,
            fps: self.fps,
            gop_frames: self.gop,
            credentials: self.credentials(),
            sound: self.sound.map(SoundName::sound),
            start_at_keyframe: self.start_at_keyframe,
            ..CameraOptions::new(id)
        }
    }

    fn credentials(&self) -> Credentials {
        match (&self.user, &self.password, self.auth) {
            (Some(user), Some(password), Auth::Digest) => Credentials::Digest {
                user: user.clone(),
                password: password.clone(),
            },
            (Some(user), Some(password), Auth::Basic) => Credentials::Basic {
                user: user.clone(),
                password: password.clone(),
            },
            _ => Credentials::None,
        }
    }
}

// One thread: all cameras together stay below one core, and wake-ups between threads would cost
// more than they save.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-camera: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), holdfast_camera::Error> {
    let server = CameraServer::bind(arguments.options()).await?;
    let handle = server.handle();
    println!(
        "listening rtsp://{}/cam/1 to {}",
        handle.address(),
        arguments.cameras
    );
    // A thread, because reading standard input blocks; the process does not wait for it.
    std::thread::spawn(move || obey(&handle));
    tokio::select! {
        ended = server.run() => ended,
        // Waits for the user. An error means that no signal can arrive; then the process is ended
        // from outside.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Answers each line of standard input until its end; then keeps the handle, and so the server,
/// forever.
fn obey(handle: &Handle) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if !line.trim().is_empty() {
            println!("{}", answer(handle, &line));
        }
    }
    loop {
        std::thread::park();
    }
}

fn answer(handle: &Handle, line: &str) -> String {
    match line.parse::<Command>() {
        Ok(command) => match handle.camera(command.camera) {
            Some(camera) => command.order.apply(&camera),
            None => format!("error: there is no camera {}", command.camera),
        },
        Err(error) => format!("error: {error}"),
    }
}
