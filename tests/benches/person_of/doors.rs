//! Ways to the persons of events, as queries of the same answer.

use super::data::{COMPUTED_KEY, STORED_KEY};

/// Settings that FUNCTIONS.md recommends for queries over many rows.
const LARGE_BLOCKS: &str = ", max_block_size = 262144, preferred_block_size_bytes = 10000000";
/// The condition of the person rule for the versions of an id.
const IS_LIVE: &str = "argMax(is_deleted, (version, is_deleted)) = 0";
/// The person of the person rule for the versions of an id.
const PERSON: &str = "argMax(person_id, (version, is_deleted, person_id)) AS person_id";

/// A way to the person of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    /// The JOIN of `events_with_person`.
    Join,
    JoinOnStoredKey,
    DictionaryOnStoredKey,
    /// A dictionary on the fastest hash.
    DictionaryOnComputedKey,
    /// A dictionary on the hash that `personOf` computes.
    DictionaryOnSipHash,
    PersonOf,
    PersonOfLargeBlocks,
    PersonOfKey,
    PersonOfKeyLargeBlocks,
    /// A function that answers the bytes of the id, and so counts ids, of which there are somewhat
    /// more than persons. Executable functions of the id are hardly faster.
    NoopOfIdLargeBlocks,
    /// The same of the key.
    NoopOfKeyLargeBlocks,
}

/// What a query counts. In these data, an id has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counted {
    Persons,
    Ids,
}

/// Rows that a query reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows {
    All,
    OneTeam,
}

/// The team of [`Rows::OneTeam`].
const TEAM: u64 = 7;

impl Door {
    pub(super) const ALL: [Self; 11] = [
        Self::Join,
        Self::JoinOnStoredKey,
        Self::DictionaryOnStoredKey,
        Self::DictionaryOnComputedKey,
        Self::DictionaryOnSipHash,
        Self::PersonOf,
        Self::PersonOfLargeBlocks,
        Self::PersonOfKey,
        Self::PersonOfKeyLargeBlocks,
        Self::NoopOfIdLargeBlocks,
        Self::NoopOfKeyLargeBlocks,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::JoinOnStoredKey => "join_on_stored_key",
            Self::DictionaryOnStoredKey => "dictionary_on_stored_key",
            Self::DictionaryOnComputedKey => "dictionary_on_computed_key",
            Self::DictionaryOnSipHash => "dictionary_on_sip_hash",
            Self::PersonOf => "person_of",
            Self::PersonOfLargeBlocks => "person_of_large_blocks",
            Self::PersonOfKey => "person_of_key",
            Self::PersonOfKeyLargeBlocks => "person_of_key_large_blocks",
            Self::NoopOfIdLargeBlocks => "noop_of_id_large_blocks",
            Self::NoopOfKeyLargeBlocks => "noop_of_key_large_blocks",
        }
    }

    pub(super) fn counted(self) -> Counted {
        match self {
            Self::NoopOfIdLargeBlocks | Self::NoopOfKeyLargeBlocks => Counted::Ids,
            _ => Counted::Persons,
        }
    }

    /// Counts unique persons with `threads` threads.
    pub(super) fn count(self, rows: Rows, threads: usize) -> String {
        self.query("uniqExact(person)", "", rows, threads)
    }

    /// Counts unique persons by day.
    pub(super) fn count_by_day(self, threads: usize) -> String {
        self.query(
            "toDate(timestamp) AS day, uniqExact(person)",
            "GROUP BY day ORDER BY day",
            Rows::All,
            threads,
        )
    }

    fn query(self, columns: &str, groups: &str, rows: Rows, threads: usize) -> String {
        let (person, join) = (self.person(), self.join(rows));
        let of_team = team(rows);
        let columns = columns.replace("person", &person);
        let settings = if self.is_large() { LARGE_BLOCKS } else { "" };
        format!(
            "SELECT {columns} FROM {{db}}.seen_events AS events {join} {of_team} {groups} \
             SETTINGS max_threads = {threads}{settings}"
        )
    }

    fn person(self) -> String {
        match self {
            Self::Join | Self::JoinOnStoredKey => "live.person_id".to_owned(),
            Self::DictionaryOnStoredKey => dictionary("stored", "person_key"),
            Self::DictionaryOnComputedKey => dictionary("computed", COMPUTED_KEY),
            Self::DictionaryOnSipHash => dictionary("stored", STORED_KEY),
            Self::PersonOf | Self::PersonOfLargeBlocks => "personOf(team_id, distinct_id)".to_owned(),
            Self::PersonOfKey | Self::PersonOfKeyLargeBlocks => "personOfKey(person_key)".to_owned(),
            Self::NoopOfIdLargeBlocks => "noopPersonOf(team_id, distinct_id)".to_owned(),
            Self::NoopOfKeyLargeBlocks => "noopPersonOfKey(person_key)".to_owned(),
        }
    }

    fn join(self, rows: Rows) -> String {
        // In these data an id has one team, so the JOIN needs no team and is faster.
        let (key, name) = match self {
            Self::Join => ("distinct_id", "distinct_id"),
            Self::JoinOnStoredKey => (STORED_KEY, "person_key"),
            _ => return String::new(),
        };
        let of_team = team(rows);
        let key = if key == name { key.to_owned() } else { format!("{key} AS {name}") };
        format!(
            "LEFT JOIN (SELECT {key}, {PERSON} FROM {{db}}.person_distinct_id {of_team} \
             GROUP BY {name} HAVING {IS_LIVE}) AS live USING ({name})"
        )
    }

    fn is_large(self) -> bool {
        matches!(
            self,
            Self::PersonOfLargeBlocks
                | Self::PersonOfKeyLargeBlocks
                | Self::NoopOfIdLargeBlocks
                | Self::NoopOfKeyLargeBlocks
        )
    }
}

fn dictionary(name: &str, key: &str) -> String {
    format!("dictGet('{{db}}.persons_by_{name}_key', 'person_id', {key})")
}

fn team(rows: Rows) -> String {
    match rows {
        Rows::All => String::new(),
        Rows::OneTeam => format!("WHERE team_id = {TEAM}"),
    }
}
