//! Measures the cost of many cameras: `cargo run --release -p holdfast-camera --example load --
//! [CAMERAS] [SECONDS] [BITRATE_BPS]`.
//!
//! One thread serves, another reads and counts. Prints one JSON line; `server_cores` is the serving
//! thread's CPU time (user and kernel, including delivery over loopback) per second. Linux only.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use holdfast_camera::{CameraOptions, CameraServer, Handle, Options};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SETTLE: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Load {
    cameras: u32,
    seconds: u64,
    bitrate_bps: u64,
}

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let load = Load {
        cameras: u32::try_from(next(200)?)?,
        seconds: next(20)?,
        bitrate_bps: next(2_000_000)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.block_on(CameraServer::start(load.options()))?;
    let clients = std::thread::spawn({
        let handle = handle.clone();
        move || watch(&handle, &load)
    });
    let (cpu, report) = runtime.block_on(serve_until(clients))?;
    println!("{}", report.line(&handle, cpu));
    Ok(())
}

impl Load {
    fn options(&self) -> Options {
        let camera = |id| CameraOptions {
            bitrate_bps: self.bitrate_bps,
            ..CameraOptions::new(id)
        };
        Options {
            cameras: (1..=self.cameras).map(camera).collect(),
            seed: Some(1),
            ..Options::default()
        }
    }
}

struct Report {
    cameras: u32,
    time: Duration,
    bytes: u64,
    frames: u64,
}

impl Report {
    fn line(&self, handle: &Handle, cpu: Duration) -> String {
        let seconds = self.time.as_secs_f64();
        let shed: u64 = handle.cameras().map(|camera| camera.sessions_shed()).sum();
        format!(
            "{{\"cameras\":{},\"seconds\":{seconds:.1},\"mbit_per_s\":{:.1},\"frames_per_s\":{:.1},\
             \"sessions_shed\":{shed},\"server_cores\":{:.3}}}",
            self.cameras,
            self.bytes as f64 * 8.0 / 1e6 / seconds,
            self.frames as f64 / seconds,
            cpu.as_secs_f64() / (seconds + SETTLE.as_secs_f64()),
        )
    }
}

/// Serves until the clients are done, and returns this thread's CPU time since they started.
async fn serve_until(
    clients: std::thread::JoinHandle<Outcome<Report>>,
) -> Outcome<(Duration, Report)> {
    let before = thread_cpu()?;
    while !clients.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let report = clients.join().map_err(|_| "the clients panicked")??;
    Ok((thread_cpu()?.saturating_sub(before), report))
}

/// Plays all cameras and counts for the given time.
fn watch(handle: &Handle, load: &Load) -> Outcome<Report> {
    let mut clients = Vec::new();
    for id in 1..=load.cameras {
        clients.push(Client::play(&handle.url(id), handle)?);
    }
    count(&mut clients, SETTLE)?;
    let start = Instant::now();
    let (bytes, frames) = count(&mut clients, Duration::from_secs(load.seconds))?;
    Ok(Report {
        cameras: load.cameras,
        time: start.elapsed(),
        bytes,
        frames,
    })
}

/// Bytes and frames that arrive within `time`.
fn count(clients: &mut [Client], time: Duration) -> io::Result<(u64, u64)> {
    let (mut buffer, start) = (vec![0; 256 * 1024], Instant::now());
    let (mut bytes, mut frames) = (0, 0);
    while start.elapsed() < time {
        for client in clients.iter_mut() {
            let (more_bytes, more_frames) = client.drain(&mut buffer)?;
            bytes += more_bytes;
            frames += more_frames;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((bytes, frames))
}

struct Client {
    stream: TcpStream,
    /// The rest of a packet that the last read cut off.
    rest: Vec<u8>,
}

impl Client {
    fn play(url: &str, handle: &Handle) -> Outcome<Self> {
        let mut stream = TcpStream::connect(handle.address())?;
        let setup = format!(
            "SETUP {url}/track1 RTSP/1.0\r\nCSeq: 1\r\n\
             Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        );
        let answer = ask(&mut stream, &setup)?;
        let session = answer
            .lines()
            .find_map(|line| line.strip_prefix("Session: "))
            .ok_or("no session")?;
        let session = session.split(';').next().unwrap_or_default();
        ask(
            &mut stream,
            &format!("PLAY {url}/ RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n"),
        )?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            rest: Vec::new(),
        })
    }

    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<(u64, u64)> {
        let (mut bytes, mut frames) = (0, 0);
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.rest.extend_from_slice(&buffer[..length]);
                    bytes += length as u64;
                    frames += self.take_frames();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((bytes, frames));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// RTP markers on the first channel among the whole packets received.
    fn take_frames(&mut self) -> u64 {
        let (mut at, mut frames) = (0, 0);
        while let Some(&[_, channel, high, low, _, marker, ..]) = self.rest.get(at..) {
            let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
            if end > self.rest.len() {
                break;
            }
            frames += u64::from(channel == 0 && marker & 0x80 != 0);
            at = end;
        }
        self.rest.drain(..at);
        frames
    }
}

fn ask(stream: &mut TcpStream, request: &str) -> Outcome<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer)?;
    if answer.starts_with("RTSP/1.0 200 ") {
        Ok(answer)
    } else {
        Err(answer.into())
    }
}

/// CPU time of this thread: the first field of its `schedstat`, in nanoseconds.
fn thread_cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}
