//! Processes that this program has started and that must not outlive it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a process for [`kill_all`].
pub fn guard(pid: u32) {
    running().push(pid);
}

/// Forgets a process that has ended and was waited for.
pub fn release(pid: u32) {
    running().retain(|known| *known != pid);
}

/// Ends all of them at once, for a program that is about to exit without unwinding.
pub fn kill_all() {
    for pid in running().drain(..) {
        signal(pid, Signal::KILL);
    }
}

/// Signals a process that was started here.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended by itself; then there is nothing to signal.
        let _ = kill_process(pid, signal);
    }
}
