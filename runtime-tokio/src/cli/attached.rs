//! Processes that belong to another one: they must never outlive it, however it dies.
//!
//! Two ties: the system kills the process when its parent dies (Linux; it works on a stopped process
//! too), and standard input is a pipe that ends with the parent (everywhere).

use std::io::{BufRead as _, stdin};
use std::process::exit;
use std::sync::{Mutex, PoisonError};
use std::thread;
use tokio::sync::mpsc;

use super::failure::JOB_FAILED;

/// Lines that the parent sends.
#[derive(Debug)]
pub struct Parent(Mutex<Option<mpsc::UnboundedReceiver<String>>>);

impl Parent {
    /// Ties this process to its parent, if it belongs to one.
    pub fn tie(attached: bool) -> Self {
        if !attached {
            return Self(Mutex::new(None));
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, set_parent_process_death_signal};
            // Without it the pipe below remains.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in stdin().lock().lines().map_while(Result::ok) {
                // A process that does not listen to its parent still ends with it.
                let _ = sender.send(line);
            }
            exit(JOB_FAILED.into());
        });
        Self(Mutex::new(Some(receiver)))
    }

    /// The lines, for the first who asks.
    pub fn take(&self) -> Option<mpsc::UnboundedReceiver<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
