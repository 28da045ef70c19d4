//! A disk with a volatile cache, and its log: every write and flush in order, with marks in
//! between. The kernel reaches it through nbdfuse.
//!
//! It serves NBD (the `proto.md` of the NBD project): the fixed newstyle handshake, reads, writes
//! and flushes, one request after the other. An answered write may still be lost until a later
//! flush was answered.

use super::scratch::{run, text, unmount};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`.
const HANDSHAKE_FLAGS: u16 = 0b11;

/// `NBD_FLAG_HAS_FLAGS` and `NBD_FLAG_SEND_FLUSH`; without FUA the kernel flushes instead.
const EXPORT_FLAGS: u16 = 0b101;

const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;

/// More than nbdfuse ever requests at once.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// How often to check for nbdfuse's file before giving up.
const LOOKS_MAX: u32 = 200;

const LOOK_PAUSE: Duration = Duration::from_millis(20);

pub(crate) enum Event {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    Flush,
    /// A line of testimony; what it promises had been flushed before.
    Mark(String),
}

pub(crate) type Log = Arc<Mutex<Vec<Event>>>;

/// The disk as a file from which a loop device can be made; it exists until this is dropped.
pub(crate) struct LogDisk {
    folder: PathBuf,
    nbdfuse: Child,
    server: Option<JoinHandle<()>>,
    log: Log,
}

impl LogDisk {
    /// Serves `image` from `dir`, beginning the log with its present state.
    ///
    /// # Errors
    /// nbdfuse does not start.
    pub(crate) fn new(image: &Path, dir: &Path) -> Result<Self, String> {
        let (folder, socket) = (dir.join("nbd"), dir.join("nbd.sock"));
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let listener = UnixListener::bind(&socket)
            .map_err(|error| format!("{}: {error}", socket.display()))?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(image)
            .map_err(|error| error.to_string())?;
        let log = Log::default();
        let server = std::thread::spawn({
            let log = Arc::clone(&log);
            move || serve(&listener, &file, &log)
        });
        let mut nbdfuse = Command::new("nbdfuse");
        nbdfuse
            .arg(folder.join("disk"))
            .arg("--unix")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let nbdfuse = nbdfuse
            .spawn()
            .map_err(|error| format!("nbdfuse: {error}"))?;
        let disk = Self {
            folder,
            nbdfuse,
            server: Some(server),
            log,
        };
        for _ in 0..LOOKS_MAX {
            if disk.file().exists() {
                return Ok(disk);
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Err("nbdfuse does not show its file".to_owned())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("disk")
    }

    pub(crate) fn log(&self) -> Log {
        Arc::clone(&self.log)
    }
}

impl Drop for LogDisk {
    fn drop(&mut self) {
        if let Err(problem) = unmount(&self.folder) {
            eprintln!("{problem}");
            run("fusermount3", &["-u", "-z", text(&self.folder)]).ok();
        }
        self.nbdfuse.wait().ok();
        if let Some(server) = self.server.take() {
            server.join().ok();
        }
    }
}

/// Serves one client until it disconnects.
fn serve(listener: &UnixListener, image: &File, log: &Log) {
    let outcome = listener.accept().and_then(|(mut stream, _)| {
        let bytes = image.metadata()?.len();
        shake_hands(&mut stream, bytes)?;
        while answer(&mut stream, image, log)? {}
        Ok(())
    });
    if let Err(error) = outcome
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        eprintln!("the log disk's client failed: {error}");
    }
}

fn shake_hands(stream: &mut UnixStream, export_bytes: u64) -> io::Result<()> {
    stream.write_all(
        &[
            &MAGIC.to_be_bytes()[..],
            &OPTION_MAGIC.to_be_bytes(),
            &HANDSHAKE_FLAGS.to_be_bytes(),
        ]
        .concat(),
    )?;
    let _client_flags: [u8; 4] = take(stream)?;
    loop {
        let (_magic, option): ([u8; 8], [u8; 4]) = (take(stream)?, take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        take_bytes(stream, length)?;
        if u32::from_be_bytes(option) != OPTION_GO {
            reply_to_option(stream, option, REPLY_UNSUPPORTED, &[])?;
            continue;
        }
        // NBD_INFO_EXPORT is 0.
        let export = [
            &[0, 0][..],
            &export_bytes.to_be_bytes(),
            &EXPORT_FLAGS.to_be_bytes(),
        ]
        .concat();
        reply_to_option(stream, option, REPLY_INFO, &export)?;
        return reply_to_option(stream, option, REPLY_ACK, &[]);
    }
}

fn reply_to_option(
    stream: &mut UnixStream,
    option: [u8; 4],
    kind: u32,
    data: &[u8],
) -> io::Result<()> {
    let length = (data.len() as u32).to_be_bytes();
    stream.write_all(
        &[
            &OPTION_REPLY_MAGIC.to_be_bytes()[..],
            &option,
            &kind.to_be_bytes(),
            &length,
            data,
        ]
        .concat(),
    )
}

/// Answers one request. Returns `false` after the last.
fn answer(stream: &mut UnixStream, image: &File, log: &Log) -> io::Result<bool> {
    let (magic, _flags, kind): ([u8; 4], [u8; 2], [u8; 2]) =
        (take(stream)?, take(stream)?, take(stream)?);
    let (cookie, offset, length): ([u8; 8], [u8; 8], [u8; 4]) =
        (take(stream)?, take(stream)?, take(stream)?);
    let (offset, length) = (u64::from_be_bytes(offset), u32::from_be_bytes(length));
    if u32::from_be_bytes(magic) != REQUEST_MAGIC {
        return Err(io::Error::other("no request where one should be"));
    }
    let mut data = Vec::new();
    match u16::from_be_bytes(kind) {
        0 => {
            data = vec![0; checked(length)?];
            image.read_exact_at(&mut data, offset)?;
        }
        1 => {
            let bytes = take_bytes(stream, length)?;
            image.write_all_at(&bytes, offset)?;
            log.lock().unwrap().push(Event::Write { offset, bytes });
        }
        2 => return Ok(false),
        3 => log.lock().unwrap().push(Event::Flush),
        other => return Err(io::Error::other(format!("request {other} was not offered"))),
    }
    stream.write_all(&[&REPLY_MAGIC.to_be_bytes()[..], &[0; 4], &cookie, &data].concat())?;
    Ok(true)
}

fn checked(length: u32) -> io::Result<usize> {
    let length = length as usize;
    if length <= REQUEST_BYTES_MAX {
        Ok(length)
    } else {
        Err(io::Error::other("a request that is too long"))
    }
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_bytes(stream: &mut UnixStream, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; checked(length)?];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
