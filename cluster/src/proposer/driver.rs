//! The task that gets commands into the log, whoever leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Origin;
use super::lane::{Event, Lane, Route};
use super::pending::Pending;
use super::queue::{Queue, Taken};
use super::window::{COMMAND_MAX, GivenUp, Window};
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::membership::pause::Pause;
use crate::network::Channels;

/// Without a leader for longer than this, commands are refused at once.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// The same while the node ends: nobody wants to wait for a node that is going anyway.
const LEADERLESS_MAX_AT_END: Duration = Duration::from_secs(1);
/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(250);
/// A lane that was lost is opened again after this long, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// Proposes until the queue is closed and everything is answered. Lives as long as the node has a place in its cluster, also
/// while its storage is down.
pub(crate) struct Driver<T> {
    queue: Arc<Queue<T>>,
    pending: Arc<Pending<T>>,
    origin: Origin,
    routes: watch::Receiver<Route>,
    channels: Channels,
    proposals: Pause,
    window: Window,
    lane: Option<Lane>,
    /// Whether the lane takes batches.
    is_open: bool,
    /// When a lane took batches last.
    last_open: Instant,
    retry_at: Instant,
    retry_delay: Duration,
}

impl<T: Send + 'static> Driver<T> {
    pub(crate) fn new(
        queue: Arc<Queue<T>>,
        pending: Arc<Pending<T>>,
        origin: Origin,
        routes: watch::Receiver<Route>,
        channels: Channels,
        proposals: Pause,
    ) -> Driver<T> {
        let now = Instant::now();
        Driver {
            queue,
            pending,
            origin,
            routes,
            channels,
            proposals,
            window: Window::default(),
            lane: None,
            is_open: false,
            last_open: now,
            retry_at: now,
            retry_delay: RETRY_MIN,
        }
    }

    /// Runs until the queue is closed and everything is answered, or the node is gone.
    pub(crate) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.look_at_progress();
            if self.window.is_empty() && self.queue.is_drained() {
                return;
            }
            self.open_lane();
            self.send().await;
            let wants_lane = self.lane.is_none() && !matches!(&*self.routes.borrow(), Route::None);
            tokio::select! {
                changed = self.routes.changed() => match changed {
                    Ok(()) => self.follow_route(),
                    Err(_gone) => return,
                },
                event = next_event(&mut self.lane) => self.take(event),
                () = self.queue.changed(), if self.is_open && !self.window.is_full() => {}
                () = self.pending.changed() => {}
                () = sleep_until(self.retry_at), if wants_lane => {}
                _ = tick.tick() => self.look_at_deadlines(),
            }
        }
    }

    /// Drops from the window what was applied here, and sends everything again if some arrived without what it follows.
    fn look_at_progress(&mut self) {
        let progress = self.pending.take_progress();
        self.window.forget(progress.settled, progress.abandoned);
        if progress.gap && !self.window.is_empty() {
            self.lose("commands arrived in another order");
        }
    }

    fn look_at_deadlines(&mut self) {
        let now = Instant::now();
        if self.is_open {
            self.last_open = now;
        }
        let allowed = if self.queue.is_closing() { LEADERLESS_MAX_AT_END } else { LEADERLESS_MAX };
        let is_leaderless = now.duration_since(self.last_open) > allowed;
        self.queue.set_leaderless(is_leaderless);
        let (given_up, reason) = if is_leaderless {
            (self.window.give_up(), UnavailableReason::NoLeader)
        } else {
            (self.window.expire(now), UnavailableReason::TimedOut)
        };
        self.answer(given_up, reason);
        if let Some(before) = now.checked_sub(COMMAND_MAX) {
            let (reason, outcome) = (UnavailableReason::TimedOut, CommandOutcome::NotApplied);
            self.queue.expire(before, &ProposeError::Unavailable { reason, outcome });
        }
    }

    fn answer(&self, given_up: Vec<GivenUp>, reason: UnavailableReason) {
        for GivenUp { start, end, may_be_in_log } in given_up {
            let outcome = if may_be_in_log { CommandOutcome::Unknown } else { CommandOutcome::NotApplied };
            self.pending.fail(start, end, &ProposeError::Unavailable { reason, outcome });
        }
    }

    fn open_lane(&mut self) {
        if self.lane.is_some() || Instant::now() < self.retry_at {
            return;
        }
        let route = self.routes.borrow_and_update().clone();
        self.lane = Lane::open(&route, self.origin, &self.channels, &self.proposals);
        self.is_open = false;
        self.window.rewind();
    }

    /// Sends what waits: first what was sent on another lane, then what is new.
    async fn send(&mut self) {
        let Some(lane) = self.lane.as_mut().filter(|_| self.is_open) else { return };
        loop {
            if let Some(batch) = self.window.next() {
                lane.send(batch).await;
            } else if self.window.is_full() {
                return;
            } else if let Some(taken) = self.queue.take() {
                let Taken { first_sequence, commands, waiters, since } = taken;
                self.pending.register(first_sequence, waiters);
                self.window.push(first_sequence, commands, since);
            } else {
                return;
            }
        }
    }

    /// Another leader or none: what is on its way goes there as well.
    fn follow_route(&mut self) {
        (self.lane, self.is_open) = (None, false);
        (self.retry_at, self.retry_delay) = (Instant::now(), RETRY_MIN);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Opened => {
                (self.is_open, self.last_open) = (true, Instant::now());
                self.queue.set_leaderless(false);
            }
            Event::Committed { first_sequence } => {
                self.window.committed(first_sequence);
                self.retry_delay = RETRY_MIN;
            }
            Event::Full => {
                let refused = self.window.refused();
                self.answer(refused, UnavailableReason::DiskFull);
                self.lose("the leader's disk is full");
            }
            Event::Lost { reason } => self.lose(&reason),
        }
    }

    fn lose(&mut self, reason: &str) {
        tracing::debug!(reason, "commands must be sent to the leader again");
        (self.lane, self.is_open) = (None, false);
        self.retry_at = Instant::now() + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(RETRY_MAX);
    }
}

async fn next_event(lane: &mut Option<Lane>) -> Event {
    match lane {
        Some(lane) => lane.next().await,
        None => std::future::pending().await,
    }
}
