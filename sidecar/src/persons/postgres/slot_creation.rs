//! Creation of the replication slot, which waits for older transactions.
//!
//! If the client disconnects, the server drops an unfinished slot; see `sql/postgres/session.sql`.

use std::time::Duration;

use minijinja::context;
use tokio::time::{Instant, sleep};

use crate::config::Postgres;
use crate::supervise::Heartbeat;

use super::session::{PostgresError, Session, literal, text};

/// Time limit for older transactions. An unfinished slot retains WAL too.
const CREATION_TIMEOUT: Duration = Duration::from_secs(12 * 3600);
/// Interval between two queries for blocking sessions.
const BLOCKERS_INTERVAL: Duration = Duration::from_secs(5);
/// Time limit of one query for blocking sessions.
const BLOCKERS_TIMEOUT: Duration = Duration::from_secs(120);
/// Interval between two log lines about blocking sessions.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Creates the slot when all current transactions have ended, and reports the sessions that block
/// it; succeeds if another process created it meanwhile.
pub(crate) async fn create(
    session: &Session,
    config: &Postgres,
    heartbeat: &Heartbeat,
) -> anyhow::Result<()> {
    heartbeat.beat("creating the replication slot", BLOCKERS_TIMEOUT);
    let values = context! { slot => literal(&config.slot) };
    let created = tokio::select! {
        created = session.rows_within(
            CREATION_TIMEOUT,
            "create a replication slot",
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

/// Reports the sessions that block the creation, until they can't be queried.
async fn report(
    session: &Session,
    config: &Postgres,
    heartbeat: &Heartbeat,
) -> Result<std::convert::Infallible, PostgresError> {
    sleep(BLOCKERS_INTERVAL).await;
    let observer = Session::connect(config).await?;
    let mut logged: Option<Instant> = None;
    loop {
        heartbeat.beat("creating the replication slot", BLOCKERS_TIMEOUT);
        let slot = &config.slot;
        let blockers = blockers(&observer, session.process()).await?;
        if blockers.is_empty() {
            // The server writes the running transactions into the WAL every 15 s, and the creation
            // waits for that.
            heartbeat.not_ready(format!("replication slot {slot} is being created"));
        } else {
            if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                tracing::warn!(blockers, "slot creation waits for older transactions");
                logged = Some(Instant::now());
            }
            heartbeat.not_ready(format!(
                "replication slot {slot} is created when older transactions end: {blockers}"
            ));
        }
        sleep(BLOCKERS_INTERVAL).await;
    }
}

/// Describes the sessions that block the creation; empty if there are none.
async fn blockers(observer: &Session, process: &str) -> Result<String, PostgresError> {
    if process.is_empty() {
        return Ok("see pg_stat_activity".to_owned());
    }
    let task = "report the sessions that block a slot";
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
    for (name, value, unit) in
        [("user", user, ""), ("application", application, ""), ("open for", seconds, " s")]
    {
        if !value.is_empty() {
            text.push_str(&format!(", {name} {value}{unit}"));
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
            "process 7, user app, application report, open for 61 s"
        );
    }
}
