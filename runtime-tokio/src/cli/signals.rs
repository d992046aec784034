//! SIGTERM and Ctrl-C.

use super::failure::Failure;
use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is asked to leave.
pub async fn asked_to_leave() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        // Then the signal has its usual effect.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

/// The failure of a job that was interrupted.
pub async fn interrupted() -> Failure {
    asked_to_leave().await;
    Failure::new("interrupted before the end", "run it again")
}
