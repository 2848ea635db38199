//! Creation of the replication slot, which waits for older transactions.
//!
//! The server drops a slot that is not finished when its client goes: see `sql/postgres/session.sql`.

use std::time::Duration;

use minijinja::context;
use tokio::time::{Instant, sleep};

use crate::config::Postgres;
use crate::supervise::Heartbeat;

use super::session::{PostgresError, Session, literal, text};
use super::slot::SlotError;

/// How long older transactions are waited for: a slot that is not finished keeps WAL too.
const CREATION_TIMEOUT: Duration = Duration::from_secs(12 * 3600);
/// How often it is looked what the creation waits for.
const BLOCKERS_INTERVAL: Duration = Duration::from_secs(5);
/// How long such a look may take.
const BLOCKERS_TIMEOUT: Duration = Duration::from_secs(120);
/// How often that is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Makes the slot when all transactions that run now have ended; reports meanwhile which ones it waits for.
///
/// # Errors
/// See [`SlotError`]; that another process made it meanwhile is none.
pub(crate) async fn create(
    session: &Session,
    config: &Postgres,
    heartbeat: &Heartbeat,
) -> Result<(), SlotError> {
    heartbeat.beat("making the replication slot", BLOCKERS_TIMEOUT);
    let values = context! { slot => literal(&config.slot) };
    let created = tokio::select! {
        created = session.rows_within(
            CREATION_TIMEOUT,
            "make a replication slot",
            "postgres/create_slot.sql",
            values,
        ) => created.map(drop),
        error = report(session, config, heartbeat) => error.map(|never| match never {}),
    };
    match created {
        Err(error) if !error.is_duplicate() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Reports what the session waits for, until that can't be seen.
async fn report(
    session: &Session,
    config: &Postgres,
    heartbeat: &Heartbeat,
) -> Result<std::convert::Infallible, PostgresError> {
    sleep(BLOCKERS_INTERVAL).await;
    let observer = Session::connect(config).await?;
    let mut logged: Option<Instant> = None;
    loop {
        heartbeat.beat("making the replication slot", BLOCKERS_TIMEOUT);
        let slot = &config.slot;
        let blockers = blockers(&observer, session.process()).await?;
        if blockers.is_empty() {
            // The server writes what runs into the WAL every 15 s, and the creation waits for that.
            heartbeat.not_ready(format!("replication slot {slot} is being made"));
        } else {
            let reason = format!("replication slot {slot} is made when older transactions end: {blockers}");
            if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                tracing::warn!(slot, "persons: {reason}");
                logged = Some(Instant::now());
            }
            heartbeat.not_ready(reason);
        }
        sleep(BLOCKERS_INTERVAL).await;
    }
}

/// The sessions that it waits for; empty if there is none.
async fn blockers(observer: &Session, process: &str) -> Result<String, PostgresError> {
    if process.is_empty() {
        return Ok("see pg_stat_activity".to_owned());
    }
    let task = "tell what a session waits for";
    let rows = observer.rows(task, "postgres/blockers.sql", context! { process }).await?;
    let described = rows.iter().map(|row| {
        let row: Vec<String> = row.iter().map(text).collect();
        match &row[..] {
            [process, ..] if process == "0" => "a prepared transaction (pg_prepared_xacts)".to_owned(),
            [process, user, application, seconds] => describe(process, user, application, seconds),
            _ => "an unknown session".to_owned(),
        }
    });
    Ok(described.collect::<Vec<String>>().join(", "))
}

fn describe(process: &str, user: &str, application: &str, seconds: &str) -> String {
    let mut text = format!("process {process}");
    for (name, value) in [("user", user), ("application", application), ("open for s:", seconds)] {
        if !value.is_empty() {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_known_of_a_blocker() {
        assert_eq!(describe("7", "", "", ""), "process 7");
        assert_eq!(
            describe("7", "app", "report", "61"),
            "process 7, user app, application report, open for s: 61"
        );
    }
}
