//! Reads a passphrase from a file or from the terminal, without echo. Never from an argument or the
//! environment, where other processes could read it.

use super::args::PassphraseArgs;
use crate::terminal::error::CliError;
use holdfast_consensus::model::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

const BYTES_MAX: usize = 1_024;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACES: [u8; 2] = [0x08, 0x7f];

/// `is_new`: it is asked for twice.
///
/// # Errors
/// There is none, or the two differ.
pub(super) fn passphrase(args: &PassphraseArgs, is_new: bool) -> Result<Secret, CliError> {
    if let Some(path) = &args.passphrase_file {
        return from_file(path);
    }
    let cannot = |error: io::Error| {
        CliError::failed(format!("cannot ask for the passphrase: {error}"))
            .hint("--passphrase-file names a file with it")
    };
    let mut terminal = Terminal::open().map_err(cannot)?;
    let first = terminal.ask("Passphrase: ").map_err(cannot)?;
    if is_new && first != terminal.ask("Once more:  ").map_err(cannot)? {
        return Err(CliError::failed(
            "the two passphrases differ; nothing was done",
        ));
    }
    Ok(Secret(first))
}

fn from_file(path: &Path) -> Result<Secret, CliError> {
    let text = crate::config::read_bounded(path).map_err(|error| {
        CliError::failed(format!(
            "cannot read the passphrase from {}: {error}",
            path.display()
        ))
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CliError::failed(format!(
            "the first line of {} is empty; it is the passphrase",
            path.display()
        )));
    }
    Ok(Secret(line.to_owned()))
}

/// The process's own terminal, wherever its input comes from, without echo; dropping this restores
/// it.
struct Terminal {
    tty: File,
    before: Termios,
}

impl Terminal {
    fn open() -> io::Result<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut silent = before.clone();
        // Byte by byte, and Ctrl-C as one of them: a process that died here would leave the
        // terminal without echo.
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
        Ok(Self { tty, before })
    }

    fn ask(&mut self, prompt: &str) -> io::Result<String> {
        self.tty.write_all(prompt.as_bytes())?;
        let line = read_line(&mut self.tty);
        self.tty.write_all(b"\n")?;
        line
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing could be done about a failure.
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

fn read_line(from: &mut impl io::Read) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        let read = from.read(&mut byte)?;
        match byte[0] {
            _ if read == 0 => break,
            b'\n' | b'\r' | END => break,
            INTERRUPT => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            typed if BACKSPACES.contains(&typed) => drop_character(&mut line),
            _ if line.len() == BYTES_MAX => {
                return Err(io::Error::other(format!(
                    "it is longer than {BYTES_MAX} bytes"
                )));
            }
            typed => line.push(typed),
        }
    }
    String::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Of one to four bytes.
fn drop_character(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> io::Result<String> {
        read_line(&mut &bytes[..])
    }

    #[test]
    fn a_line_is_what_was_typed_and_not_taken_back() {
        assert_eq!(typed(b"correct horse\nmore").unwrap(), "correct horse");
        assert_eq!(typed("grüß\u{7f}\u{7f}\u{7f}x\r".as_bytes()).unwrap(), "gx");
        assert_eq!(typed(b"\x08\x7fa").unwrap(), "a");
        assert_eq!(
            typed(b"abc\x03").unwrap_err().kind(),
            io::ErrorKind::Interrupted
        );
        assert!(typed(&[b'x'; BYTES_MAX + 1]).is_err());
        assert!(typed(b"\xff\n").is_err());
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "correct horse battery \nnotes\n").unwrap();
        assert_eq!(from_file(&path).unwrap().0, "correct horse battery ");
        std::fs::write(&path, "\n").unwrap();
        assert!(from_file(&path).unwrap_err().message.contains("is empty"));
        assert!(from_file(&dir.path().join("none")).is_err());
    }
}
