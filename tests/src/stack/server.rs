//! One server process of the stack: start, kill, stop, restart.
//!
//! A restarted server keeps its data and ports.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use super::process;
use super::wait::{interrupted, wait_until};

/// For a server to answer after its start. The slowest needs about four seconds on two idle cores
/// and a minute on busy ones. A node may have to load the parts that a kill test has left.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// For a server to end after SIGTERM, before SIGKILL. A broker moves its partitions away first.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Maximum of consecutive restarts of a node that aborted, without an answer in between.
const RESTARTS: u32 = 5;

/// The command of a server, and the probe that shows when it answers.
pub(crate) struct Launch {
    /// The server's name in messages.
    pub(crate) name: String,
    /// Builds the command, for each start.
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Sends one request to the server, with a timeout of about a second.
    pub(crate) probe: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    /// Receives stdout and stderr.
    pub(crate) output: PathBuf,
    /// The logs to show when the server does not start, besides `output`.
    pub(crate) logs: Vec<PathBuf>,
    pub(crate) stop_by: StopBy,
    pub(crate) on_end: OnEnd,
}

/// How a server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopBy {
    Terminate,
    /// SIGINT, because PostgreSQL waits for every client to leave after SIGTERM.
    Interrupt,
    /// The end of its standard input.
    EndOfInput,
}

/// The reaction to an abort of a server that had answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEnd {
    /// Log it, and leave the server down.
    Report,
    /// Log it, and restart the server.
    Restart,
}

/// A server process and its state. All methods may be called from any thread.
pub struct Server(Arc<Inner>);

struct Inner {
    launch: Launch,
    state: Mutex<State>,
    changed: Condvar,
    aborts: AtomicU32,
}

struct State {
    phase: Phase,
    /// Some from the spawn until the process is reaped, in every phase.
    child: Option<Child>,
    /// Number of processes started so far, so that a wait for the end of one isn't confused by the
    /// next.
    life: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Stopped on request, or never started.
    Down,
    /// Started on request, does not answer yet.
    Starting,
    Ready,
    /// Aborted, and the supervisor is restarting it.
    Restarting,
    /// Aborted, and stays down.
    Failed(ExitStatus),
}

impl Server {
    pub(crate) fn new(launch: Launch) -> Self {
        let state = Mutex::new(State { phase: Phase::Down, child: None, life: 0 });
        Self(Arc::new(Inner { launch, state, changed: Condvar::new(), aborts: AtomicU32::new(0) }))
    }

    /// The server's name in messages.
    pub fn name(&self) -> &str {
        &self.0.launch.name
    }

    /// Starts the server unless it runs. Returns when it answers.
    ///
    /// # Errors
    /// If it ends before it answers, or exceeds the limit. The error has the end of its logs. The
    /// server is down afterwards.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut state = self.0.lock();
        // Another thread may be waiting for the killed process to end.
        while state.child.is_some() && matches!(state.phase, Phase::Down) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if matches!(state.phase, Phase::Down | Phase::Failed(_)) {
            self.0.spawn(&mut state)?;
            state.phase = Phase::Starting;
        }
        drop(state);
        let answered = self.0.answers();
        if answered.is_err() {
            self.kill();
        }
        answered
    }

    /// Sends SIGKILL. Returns when the process is gone. The server stays down until
    /// [`Server::start`].
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.phase = Phase::Down;
        state.signal(Signal::KILL);
        self.0.wait_for_end(state, None);
    }

    /// Sends SIGSTOP. Connections stay open without a response until [`Server::resume`].
    pub fn suspend(&self) {
        self.0.lock().signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.0.lock().signal(Signal::CONT);
    }

    /// Asks the server to end, and kills it after the limit. Returns when the process is gone.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.phase = Phase::Down;
        match self.0.launch.stop_by {
            StopBy::Terminate => state.signal(Signal::TERM),
            StopBy::Interrupt => state.signal(Signal::INT),
            StopBy::EndOfInput => drop(state.child.as_mut().and_then(|child| child.stdin.take())),
        }
        if !self.0.wait_for_end(state, Some(STOP_LIMIT)) {
            eprintln!("stack: {} did not stop within {} s: killed", self.name(), STOP_LIMIT.as_secs());
            self.kill();
        }
    }

    /// Whether the process runs, even without an answer.
    pub fn is_running(&self) -> bool {
        self.0.lock().child.is_some()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.0.lock().child.as_ref().map(Child::id)
    }

    /// Number of aborts after the server had answered.
    pub fn aborts(&self) -> u32 {
        self.0.aborts.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name()).field("phase", &self.0.lock().phase).finish()
    }
}

impl State {
    fn signal(&self, signal: Signal) {
        // The child is not reaped yet (see `watch`), so its id is not reused. An error means that
        // it has just ended.
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the current process is gone. Returns false if it still exists after `limit`.
    fn wait_for_end(&self, state: MutexGuard<'_, State>, limit: Option<Duration>) -> bool {
        let life = state.life;
        let lives = |state: &mut State| state.child.is_some() && state.life == life;
        match limit {
            None => drop(self.changed.wait_while(state, lives)),
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(state, limit, lives);
                return !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
            }
        }
        true
    }

    /// Starts the process and the thread that waits for its end.
    fn spawn(self: &Arc<Self>, state: &mut State) -> anyhow::Result<()> {
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&self.launch.output);
        let output = output.with_context(|| format!("cannot write {}", self.launch.output.display()))?;
        let mut command = (self.launch.command)();
        command.stdout(output.try_clone()?).stderr(output).stdin(match self.launch.stop_by {
            StopBy::Terminate | StopBy::Interrupt => Stdio::null(),
            StopBy::EndOfInput => Stdio::piped(),
        });
        let child = process::spawn(command)?;
        let pid = Pid::from_child(&child);
        state.child = Some(child);
        state.life += 1;
        let inner = Arc::clone(self);
        thread::Builder::new().name(format!("watch-{}", self.launch.name)).spawn(move || inner.watch(pid))?;
        Ok(())
    }

    /// Waits for the end of one process, then updates the phase.
    fn watch(self: &Arc<Self>, pid: Pid) {
        process::wait_for_end(pid);
        let mut state = self.lock();
        // The process has ended, so this does not block. It is reaped under the lock, so that no
        // thread can signal a reused pid.
        let Some(Ok(status)) = state.child.take().map(|mut child| child.wait()) else { return };
        let by_itself = matches!(state.phase, Phase::Ready);
        state.phase = match (state.phase, self.launch.on_end) {
            (Phase::Ready, OnEnd::Restart) => Phase::Restarting,
            (Phase::Ready | Phase::Starting, _) => Phase::Failed(status),
            (phase, _) => phase,
        };
        self.changed.notify_all();
        drop(state);
        if by_itself {
            let count = self.aborts.fetch_add(1, Ordering::SeqCst) + 1;
            let name = &self.launch.name;
            let log = self.launch.output.display();
            eprintln!("stack: {name} aborted ({status}), {count} times so far; see {log}");
            if self.launch.on_end == OnEnd::Restart {
                self.restart(status);
            }
        }
    }

    /// Restarts an aborted node, up to [`RESTARTS`] times, unless it is stopped meanwhile.
    fn restart(self: &Arc<Self>, status: ExitStatus) {
        for _ in 0..RESTARTS {
            let mut state = self.lock();
            if !matches!(state.phase, Phase::Restarting) {
                return;
            }
            let spawned = if state.child.is_none() { self.spawn(&mut state) } else { Ok(()) };
            drop(state);
            match spawned.and_then(|()| self.answers()) {
                Ok(()) => return eprintln!("stack: {} runs again", self.launch.name),
                Err(error) => eprintln!("stack: cannot restart {}: {error:#}", self.launch.name),
            }
        }
        let mut state = self.lock();
        if matches!(state.phase, Phase::Restarting) {
            state.phase = Phase::Failed(status);
            state.signal(Signal::KILL);
            self.changed.notify_all();
        }
    }

    /// Waits until the server answers.
    fn answers(&self) -> anyhow::Result<()> {
        let name = &self.launch.name;
        let mut seen_alive = false;
        wait_until(&format!("{name} to answer"), READY_LIMIT, || {
            let state = self.lock();
            let alive = state.child.is_some();
            match state.phase {
                Phase::Ready => return ControlFlow::Break(Ok(())),
                Phase::Down => {
                    return ControlFlow::Break(Err(anyhow!("{name} was stopped while it started")));
                }
                Phase::Failed(status) => {
                    return ControlFlow::Break(Err(anyhow!("{name} ended with {status} before it answered")));
                }
                Phase::Restarting if seen_alive && !alive => {
                    return ControlFlow::Break(Err(anyhow!("{name} ended again before it answered")));
                }
                Phase::Starting | Phase::Restarting => {}
            }
            seen_alive |= alive;
            drop(state);
            if let Err(error) = (self.launch.probe)() {
                return ControlFlow::Continue(error);
            }
            let mut state = self.lock();
            // The server may have ended right after its answer.
            if state.child.is_some() && matches!(state.phase, Phase::Starting | Phase::Restarting) {
                state.phase = Phase::Ready;
            }
            ControlFlow::Continue(anyhow!("it answered and ended"))
        })
        .map_err(|error| if interrupted() { error } else { anyhow!("{error:#}\n{}", self.tails()) })
    }

    fn tails(&self) -> String {
        let mut logs = vec![&self.launch.output];
        logs.extend(&self.launch.logs);
        logs.into_iter().map(|log| process::tail(log)).collect()
    }
}
