//! All queries of the demo, in the order of its output.
//!
//! Each can be pasted into a client unchanged.

/// Visible messages: events and dead letters.
pub(super) const QUERYABLE: &str = "\
    SELECT (SELECT count() FROM posthog.events) + (SELECT count() FROM posthog.events_dead_letter)";

/// Probes that have arrived, selected by the demo's probe team.
pub(super) const PROBES: &str = "\
    SELECT DISTINCT toUInt64(substring(distinct_id, 7)) FROM posthog.events WHERE team_id = 999999";

/// Rows, distinct messages, distinct events, and the rows that ReplacingMergeTree leaves after
/// merging.
///
/// An event that the producer sent twice has one uuid, hence one key and one partition of the
/// topic, where the offset distinguishes the two messages. The same uuid and offset twice is one
/// message delivered twice.
pub(super) const EVENTS: &str = "\
    SELECT count(), uniqExact(uuid, _offset), uniqExact(uuid), (SELECT count() FROM posthog.events FINAL) \
    FROM posthog.events";

/// Rows and distinct messages. A topic partition and offset identify one message.
pub(super) const DEAD: &str = "\
    SELECT count(), uniqExact(partition, offset) FROM posthog.events_dead_letter";

/// Actual shard of each row, and the owning shard by `shardOf`. `WEIGHTS` is the list of all
/// shards' weights.
pub(super) const SHARDS: &str = "\
    SELECT _shard_num AS is_on, shardOf(distinct_id, WEIGHTS) AS belongs_on, count() \
    FROM posthog.events GROUP BY is_on, belongs_on ORDER BY is_on, belongs_on";

/// Distinct events of each day.
pub(super) const DAYS: &str = "\
    SELECT formatDateTime(toDate(timestamp) AS day, '%b %d'), uniqExact(uuid) \
    FROM posthog.events GROUP BY day ORDER BY day";

/// Most viewed pages, from the materialized column.
pub(super) const PAGES: &str = "\
    SELECT `mat_$current_url` AS page, uniqExact(uuid) AS views, uniqExact(distinct_id) AS people \
    FROM posthog.events WHERE event = '$pageview' GROUP BY page ORDER BY views DESC LIMIT 5";

/// Number of dead letters by reason.
pub(super) const REASONS: &str = "\
    SELECT error, count() FROM posthog.events_dead_letter GROUP BY error ORDER BY count() DESC, error";

/// Events of the team whose persons change.
pub(super) const VISITS: &str = "SELECT count() FROM posthog.events WHERE team_id = 2026";

/// The team's events with a person, and the distinct persons, by the current owner of each distinct
/// id.
pub(super) const PEOPLE: &str = "\
    SELECT count(), uniqExact(person_id)\n\
    FROM posthog.events_with_person(team_id = 2026, since = '2000-01-01', until = '2200-01-01')\n\
    WHERE person_id != toUUID('00000000-0000-0000-0000-000000000000')";

/// The team's current persons.
pub(super) const PERSONS: &str = "SELECT count() FROM posthog.persons(team_id = 2026)";

/// The team's events, and the distinct persons that they hold, by the group of the first type.
pub(super) const COMPANIES: &str = "\
    SELECT JSONExtractString(group0_properties, 'name') AS company, count(), uniqExact(person_id)\n\
    FROM posthog.events WHERE team_id = 2026 GROUP BY company ORDER BY company";

/// A dictionary of the persons by the key of their distinct ids.
pub(super) const DICTIONARY: &str = include_str!("../../../udf/src/functions/person_dictionary.sql");

/// The team's events with a person and the distinct persons, by each way to the person of an event.
pub(super) const LOOKUPS: [(&str, &str); 5] = [
    ("JOIN on the distinct id, as in the view", PEOPLE),
    (
        "JOIN on the stored key",
        "SELECT count(), uniqExact(ids.person_id)\n\
         FROM posthog.events AS events\n\
         INNER JOIN\n\
         (\n    \
             SELECT\n        \
                 bitXor(sipHash64(versions.distinct_id), sipHash64(versions.team_id)) AS person_key,\n        \
                 argMax(versions.person_id, (versions.version, versions.is_deleted, versions.person_id)) AS person_id\n    \
             FROM posthog.person_distinct_id AS versions\n    \
             WHERE versions.team_id = 2026\n    \
             GROUP BY person_key\n    \
             HAVING argMax(versions.is_deleted, (versions.version, versions.is_deleted)) = 0\n\
         ) AS ids ON ids.person_key = events.person_key\n\
         WHERE events.team_id = 2026",
    ),
    (
        "dictionary on the stored key",
        "SELECT\n    \
             countIf((dictGet('posthog.person_of_key', 'person_id', person_key) AS person) != toUUID('00000000-0000-0000-0000-000000000000')),\n    \
             uniqExactIf(person, person != toUUID('00000000-0000-0000-0000-000000000000'))\n\
         FROM posthog.events\n\
         WHERE team_id = 2026",
    ),
    (
        "personOf",
        "SELECT\n    \
             countIf((personOf(team_id, distinct_id) AS person) != toUUID('00000000-0000-0000-0000-000000000000')),\n    \
             uniqExactIf(person, person != toUUID('00000000-0000-0000-0000-000000000000'))\n\
         FROM posthog.events\n\
         WHERE team_id = 2026",
    ),
    (
        "personOfKey",
        "SELECT\n    \
             countIf((personOfKey(person_key) AS person) != toUUID('00000000-0000-0000-0000-000000000000')),\n    \
             uniqExactIf(person, person != toUUID('00000000-0000-0000-0000-000000000000'))\n\
         FROM posthog.events\n\
         WHERE team_id = 2026",
    ),
];

/// Rows of history and distinct events, selected by the demo's history team.
pub(super) const HISTORY: &str = "\
    SELECT count(), uniqExact(uuid) FROM posthog.events WHERE team_id = 2025";

/// One dead letter, for the user to inspect. None of its characters is special to a shell in double
/// quotes.
pub(super) const ONE_DEAD_LETTER: &str = "SELECT * FROM posthog.events_dead_letter LIMIT 1";

/// Parts on the node's disk, for the user to inspect.
pub(super) const PARTS: &str = "\
    SELECT table, count(), sum(rows) FROM system.parts WHERE active AND database = 'posthog' GROUP BY table";
