use std::collections::BTreeMap;
use std::time::Instant;

use super::super::groups::lags;
use super::super::groups::samples::{place, seen, table};
use super::*;
use crate::topics::observe::kafka_tables::BackgroundError;

/// In milliseconds.
const NOW: i64 = 1_000_000_000;

/// A group with tables on two nodes and a consumer of one partition on each. The group is at 5 in
/// the first partition and at the end of the second. The oldest unread message is two minutes old.
struct Case {
    seen: GroupSnapshot,
    reports: ServerReports,
    still: Duration,
    age_s: i64,
}

fn consumer(node: &str, partition: i32) -> ServerConsumer {
    ServerConsumer {
        node: node.to_owned(),
        table: "d.k".to_owned(),
        assigned: BTreeSet::from([place(partition)]),
        committed_s: Some(90),
        ..ServerConsumer::default()
    }
}

fn case() -> Case {
    let mut seen = seen();
    seen.tables = vec![table("n1", None), table("n2", None)];
    seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 5), (place(1), 10)]));
    let consumers = vec![consumer("n1", 0), consumer("n2", 1)];
    let reports = ServerReports { consumers, ..ServerReports::default() };
    Case { seen, reports, still: MIN_SIGHTING, age_s: 120 }
}

impl Case {
    fn lag(&self) -> Lag {
        let mut lag = lags(&self.seen, Some("g")).remove(0);
        let made = NOW - self.age_s * 1000;
        for partition in &mut lag.partitions {
            partition.oldest_unread = partition.lag.filter(|lag| *lag > 0).map(|_| made);
        }
        lag
    }

    /// Whether the case is undecided, and its stall.
    fn judged(&self) -> (bool, Option<Stall>) {
        let positions = BTreeMap::from([(("g".to_owned(), place(0)), self.still)]);
        let still = Still { watched: self.still, positions };
        let evidence = Evidence { seen: &self.seen, reports: &self.reports, still: &still, now: NOW };
        let lag = self.lag();
        (evidence.is_undecided(&lag), evidence.stall(&lag))
    }

    fn stall(&self) -> Stall {
        self.judged().1.expect("it stands still")
    }
}

#[test]
fn names_what_waits_and_since_when_it_does() {
    let stall = case().stall();
    assert_eq!((stall.group.as_str(), stall.topic.as_str()), ("g", "t"));
    assert_eq!((stall.partitions, stall.messages), (BTreeSet::from([0]), 5));
    // Its consumer committed 90 s ago.
    assert_eq!((stall.oldest_s, stall.stalled_s, stall.reason), (120, 90, Reason::Unknown));
    // A message younger than the commit waits for less.
    assert_eq!(Case { age_s: 70, ..case() }.stall().stalled_s, 70);
    // An offset that was observed for longer than its message's age is stalled for as long.
    assert_eq!(Case { age_s: 70, still: Duration::from_secs(600), ..case() }.stall().stalled_s, 600);
}

#[test]
fn looks_again_before_it_says_that_a_consumer_stands_still() {
    let first = Case { still: Duration::ZERO, ..case() };
    assert_eq!(first.judged(), (true, None));
    // New messages are no stall yet.
    assert_eq!(Case { age_s: 10, ..first }.judged(), (false, None));
    assert_eq!(Case { age_s: 30, still: MIN_SIGHTING, ..case() }.judged(), (false, None));
}

#[test]
fn counts_no_time_beside_partitions_of_the_same_consumer_that_move() {
    let mut case = case();
    case.reports.consumers[0].committed_s = Some(1);
    // The age of the message makes it a stall. Its known duration is only the observed time.
    assert_eq!(case.stall().stalled_s, 15);
}

#[test]
fn ignores_groups_without_tables() {
    let mut case = case();
    case.seen.tables.clear();
    assert_eq!(case.judged(), (false, None));
}

#[test]
fn knows_at_once_why_tables_cannot_read() {
    let mut unread = Case { still: Duration::ZERO, ..case() };
    for table in &mut unread.seen.tables {
        table.views = 0;
    }
    assert_eq!(unread.stall().reason, Reason::NoView(vec!["d.k on n1".to_owned(), "d.k on n2".to_owned()]));
    let mut waits = Case { still: Duration::ZERO, ..case() };
    for consumer in &mut waits.reports.consumers {
        consumer.missing = vec!["d.v".to_owned()];
    }
    assert!(matches!(waits.stall().reason, Reason::NoTarget { view, .. } if view == "d.v"));
    // An unreachable node may read.
    waits.seen.silent.insert("n3".to_owned(), "no answer".to_owned());
    assert_eq!(waits.judged(), (true, None));
}

#[test]
fn reports_the_newest_error_that_may_be_the_reason() {
    let error = |age_s, text: &str, streaming| BackgroundError { age_s, text: text.to_owned(), streaming };
    let said = |case: &Case| match case.stall().reason {
        Reason::Error { text, .. } => text,
        other => other.to_string(),
    };
    let mut case = case();
    let errors = vec![error(1, "elsewhere", false), error(2, "some stream", true), error(95, "d.old", false)];
    case.reports.errors.insert("n1".to_owned(), errors);
    // Errors of a node without the partition don't count.
    case.reports.errors.insert("n2".to_owned(), vec![error(0, "d.other", true)]);
    assert_eq!(said(&case), "some stream");
    case.reports.errors.entry("n1".to_owned()).or_default().push(error(5, "Table d.s does not exist", false));
    assert_eq!(said(&case), "Table d.s does not exist");
    case.reports.consumers[0].exception = Some((7, "its own".to_owned()));
    assert_eq!(said(&case), "its own");
}

#[test]
fn reports_an_untaken_partition_only_where_every_server_answers() {
    let mut case = case();
    case.reports.consumers[0].assigned.clear();
    assert_eq!(case.stall().reason, Reason::Untaken);
    case.reports.unreadable.insert("n2".to_owned(), "no right".to_owned());
    assert_eq!(case.stall().reason, Reason::Unreadable("no right".to_owned()));
}

#[test]
fn restarts_the_clock_where_a_position_has_moved() {
    let (mut sightings, begin, mut case) = (Sightings::default(), Instant::now(), case());
    let still = |still: &Still| still.positions.values().copied().collect::<Vec<_>>();
    let later = |seconds| begin + Duration::from_secs(seconds);
    assert_eq!(still(&sightings.update(&[case.lag()], begin)), [Duration::ZERO]);
    assert_eq!(still(&sightings.update(&[case.lag()], later(20))), [Duration::from_secs(20)]);
    case.seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 6), (place(1), 10)]));
    assert_eq!(still(&sightings.update(&[case.lag()], later(30))), [Duration::ZERO]);
    let last = sightings.update(&[case.lag()], later(50));
    assert_eq!((still(&last), last.watched), (vec![Duration::from_secs(20)], Duration::from_secs(50)));
    case.seen.committed.insert("g".to_owned(), BTreeMap::from([(place(0), 10), (place(1), 10)]));
    assert!(still(&sightings.update(&[case.lag()], later(60))).is_empty());
}
