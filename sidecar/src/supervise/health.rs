//! Health of all tasks, read from their heartbeats.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::heartbeat::Pulse;

/// Time after a missed beat until a task counts as dead. It leaves time for an abort and a restart.
const RESTART_GRACE: Duration = Duration::from_secs(20);

/// Health of a task at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskHealth {
    pub(crate) name: Arc<str>,
    pub(crate) pulse: Pulse,
    /// Last fault, until the task is restarted.
    pub(crate) fault: Option<String>,
    pub(crate) restarts: u64,
}

impl TaskHealth {
    /// Why the task does not do its work; `None` if it does.
    pub(crate) fn problem(&self, now: Instant) -> Option<String> {
        if let Some(fault) = &self.fault {
            return Some(fault.clone());
        }
        if self.pulse.is_overdue(now) {
            let silence = (now - self.pulse.beat).as_secs();
            return Some(format!("no heartbeat for {silence} s: {}", self.pulse.doing));
        }
        let (reason, since) = self.pulse.problem.as_ref().or(self.pulse.impairment.as_ref())?;
        Some(match (now - *since).as_secs() {
            0 => reason.clone(),
            seconds => format!("{reason} (for {seconds} s)"),
        })
    }

    /// Whether the heartbeat is missing for longer than a restart takes.
    fn is_dead(&self, now: Instant) -> bool {
        self.fault.is_none() && now >= self.pulse.due + RESTART_GRACE
    }
}

/// Health of all tasks at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// All tasks in the order of their start.
    pub(crate) tasks: Vec<TaskHealth>,
    pub(crate) now: Instant,
}

impl Health {
    /// Whether each task has its heartbeat or is being restarted.
    pub(crate) fn is_live(&self) -> bool {
        !self.tasks.iter().any(|task| task.is_dead(self.now))
    }

    /// Whether every task does its work.
    pub(crate) fn is_ready(&self) -> bool {
        self.tasks.iter().all(|task| task.problem(self.now).is_none())
    }

    /// A line for each dead task, or a line that says that all are alive.
    pub(crate) fn live_text(&self) -> String {
        let dead = self.tasks.iter().filter(|task| task.is_dead(self.now));
        self.lines("alive\n", dead)
    }

    /// A line for each task that does not do its work, or a line that says that all are ready.
    pub(crate) fn ready_text(&self) -> String {
        let idle = self.tasks.iter().filter(|task| task.problem(self.now).is_some());
        self.lines("ready\n", idle)
    }

    /// Liveness of the process, and a line for each task.
    pub(crate) fn text(&self) -> String {
        let mut text = if self.is_live() { "alive\n" } else { "not alive\n" }.to_owned();
        for task in &self.tasks {
            let state = match task.problem(self.now) {
                Some(problem) => format!("not ready: {problem}"),
                None => format!("ready: {}", task.pulse.doing),
            };
            let beat = (self.now - task.pulse.beat).as_secs();
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{}: {}; last beat {beat} s ago, {} restarts",
                task.name,
                one_line(&state),
                task.restarts
            );
        }
        text
    }

    fn lines<'t>(&'t self, none: &str, tasks: impl Iterator<Item = &'t TaskHealth>) -> String {
        let line = |task: &TaskHealth| {
            let problem = task.problem(self.now).unwrap_or_default();
            format!("{}: {}\n", task.name, one_line(&problem))
        };
        let text: String = tasks.map(line).collect();
        if text.is_empty() { none.to_owned() } else { text }
    }
}

/// Text from other programs as one line without control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn task(name: &'static str, beat: Instant) -> TaskHealth {
        let pulse =
            Pulse { beat, due: beat + LIMIT, doing: "reading".to_owned(), problem: None, impairment: None };
        TaskHealth { name: name.into(), pulse, fault: None, restarts: 0 }
    }

    fn health(tasks: [TaskHealth; 2], now: Instant) -> Health {
        Health { tasks: tasks.into(), now }
    }

    #[test]
    fn is_live_and_ready_while_all_tasks_beat() {
        let now = Instant::now();
        let health = health([task("topics", now), task("persons", now)], now + LIMIT / 2);
        assert!(health.is_live() && health.is_ready());
        assert_eq!((health.live_text(), health.ready_text()), ("alive\n".to_owned(), "ready\n".to_owned()));
        assert!(health.text().contains("persons: ready: reading; last beat 30 s ago, 0 restarts\n"));
    }

    #[test]
    fn names_the_task_and_its_reason_when_work_is_not_done() {
        let now = Instant::now();
        let mut persons = task("persons", now);
        persons.pulse.problem = Some(("PostgreSQL\ndoes not answer".to_owned(), now));
        let health = health([task("topics", now), persons], now + Duration::from_secs(7));
        assert!(health.is_live() && !health.is_ready());
        assert_eq!(health.ready_text(), "persons: PostgreSQL does not answer (for 7 s)\n");
    }

    #[test]
    fn is_not_live_when_an_overdue_task_was_not_restarted() {
        let now = Instant::now();
        let tasks = || [task("topics", now), task("persons", now + LIMIT)];
        let overdue = health(tasks(), now + LIMIT);
        assert!(overdue.is_live() && !overdue.is_ready());
        assert_eq!(overdue.ready_text(), "topics: no heartbeat for 60 s: reading\n");
        let dead = health(tasks(), now + LIMIT + RESTART_GRACE);
        assert!(!dead.is_live());
        assert_eq!(dead.live_text(), "topics: no heartbeat for 80 s: reading\n");
        let mut restarting = dead.clone();
        restarting.tasks[0].fault = Some("it panicked".to_owned());
        assert!(restarting.is_live() && !restarting.is_ready());
    }
}
