use std::collections::BTreeMap;

use super::samples::{member, place, seen, table};
use super::*;
use crate::kafka::Group;

#[test]
fn what_was_never_committed_is_unread_from_the_first_message_on() {
    let lags = lags(&seen(), None);
    let [lag] = lags.as_slice() else { panic!("one: {lags:?}") };
    let partitions: Vec<_> = lag.partitions.iter().map(|p| (p.committed, p.lag, p.lost)).collect();
    assert_eq!(partitions, [(Some(5), Some(5), 0), (None, Some(8), 0)]);
    assert_eq!((lag.lag, lag.offsets), (13, GroupOffsets::Group));
    let starts: Vec<i64> = unread(&lags).into_values().collect();
    assert_eq!(starts, [5, 2]);
}

#[test]
fn keepers_offsets_count_where_a_table_keeps_them_there() {
    let mut seen = seen();
    seen.tables = vec![table("n1", Some("/k")), table("n2", Some("/k"))];
    seen.kept.insert("/k".to_owned(), Kept::Offsets(BTreeMap::from([(place(0), 7)])));
    let lag = lags(&seen, Some("g")).remove(0);
    assert_eq!((lag.partitions[0].committed, lag.partitions[1].committed), (Some(7), None));
    assert_eq!((lag.offsets, lag.lag), (GroupOffsets::Keeper, 3 + 8));
    assert_eq!(lag.tables, BTreeMap::from([("d.k".to_owned(), vec!["n1".to_owned(), "n2".to_owned()])]));
    seen.kept.insert("/k".to_owned(), Kept::Unreadable("no".to_owned()));
    let lag = lags(&seen, None).remove(0);
    assert_eq!((lag.partitions[0].committed, lag.offsets), (Some(5), GroupOffsets::GroupForKeeper));
    assert!(notes(&seen)[0].contains("/k in Keeper can't be read (no)"));
}

#[test]
fn what_was_deleted_unread_is_lost_and_no_lag() {
    let mut seen = seen();
    seen.committed.get_mut("g").expect("g").insert(place(1), 0);
    let lag = &lags(&seen, None)[0].partitions[1];
    assert_eq!((lag.lag, lag.lost), (Some(8), 2));
    seen.bounds.remove(&place(1));
    assert_eq!(lags(&seen, None)[0].partitions[1].lag, None);
}

#[test]
fn members_are_shown_at_what_they_read_and_groups_that_read_nothing_are_idle() {
    let mut seen = seen();
    seen.groups[0].members.push(member("c", &[1]));
    let empty = Group { name: "other".to_owned(), state: "Empty".to_owned(), members: Vec::new() };
    seen.groups.push(empty);
    let lags = lags(&seen, None);
    assert_eq!(lags[0].partitions[1].member.as_deref(), Some("c"));
    assert_eq!((lags.len(), idle(&seen)), (1, vec!["other"]));
}
