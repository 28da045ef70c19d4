//! Single keys from the terminal, without waiting for Enter. Dropping this restores the terminal.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read};
use tokio::sync::mpsc;

/// Keys that were typed and not yet read; more are dropped.
const KEYS_MAX: usize = 8;

pub(super) struct Keys {
    /// `None` if standard input is no terminal.
    typed: Option<mpsc::Receiver<u8>>,
    restore: Option<Termios>,
}

impl Keys {
    pub(super) fn open() -> Self {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Self {
                typed: None,
                restore: None,
            };
        }
        let restore = tcgetattr(&stdin).ok();
        if let Some(mut modes) = restore.clone() {
            modes
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // If the terminal refuses, a key still counts once Enter follows.
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
        let (sender, typed) = mpsc::channel(KEYS_MAX);
        // A read from a terminal cannot be cancelled; the thread ends with the process.
        let started = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read(&sender));
        Self {
            typed: started.is_ok().then_some(typed),
            restore,
        }
    }

    /// The next key; pends forever if there is no terminal. Waits for a person, hence without
    /// deadline. Safe to cancel.
    pub(super) async fn next(&mut self) -> u8 {
        if let Some(typed) = &mut self.typed
            && let Some(key) = typed.recv().await
        {
            return key;
        }
        self.typed = None;
        std::future::pending().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(modes) = &self.restore {
            // Nothing can be done if this fails.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
        }
    }
}

fn read(sender: &mpsc::Sender<u8>) {
    for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(key) {
            return;
        }
    }
}
