//! Valid and invalid mappings, and binding to schemas.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

use super::parse;
use crate::backfill::extra::FilledColumn;
use crate::backfill::map::{Mapping, MappingError, PRESETS};
use crate::event_columns::EventProfile;

const SMALL: &str = "uuid = \"id\"\nevent = \"name\"\ntimestamp = \"at\"\ndistinct_id = \"who\"\n";

/// Errors of `text`, one line each.
fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Err(MappingError::Faulty { faults, .. }) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("faults were expected, not {other:?}"),
    }
}

fn schema(fields: &[(&str, DataType)]) -> Schema {
    Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
}

fn stamps() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn unfit(mapping: &str, fields: &[(&str, DataType)], team: Option<i64>) -> Vec<String> {
    match parse(mapping).expect("a good mapping").bind(&schema(fields), team) {
        Err(MappingError::Unfit { faults, .. }) => faults,
        other => panic!("it should not fit: {other:?}"),
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let text = r#"
uuid = { column = "id", default = "x" }
event = 7
properties = { constant = "{}", column = "p" }
timestamp = { column = "ts", zone = "Mars/Olympus", unit = "minutes" }
team_id = { constant = "seven" }
elements_chain = { default = "" }
created_at = { column = "c", default = "noon", ambiguous = "later" }
_timestamp = { column = "t", default = -1 }
_offset = "offset"
propertys = "p"
"#;
    let wanted = [
        "line 1: distinct_id: is required: add distinct_id = \"column\"",
        "line 2: uuid.default = \"x\": remove it: every event needs a uuid of its own",
        "line 3: event = 7: give a column of the file in quotes, or { constant = \"7\" } for this value in every row",
        "line 4: properties.constant = \"{}\": a column is given too",
        "line 5: timestamp.zone = \"Mars/Olympus\": is not a time zone",
        "line 5: timestamp.unit = \"minutes\": give \"s\" or \"ms\" or \"us\" or \"ns\"",
        "line 6: team_id.constant = \"seven\": give a whole number",
        "line 7: elements_chain.column: is required: add column = \"…\", or constant = …",
        "line 8: created_at.default = \"noon\": give a timestamp such as",
        "line 8: created_at.ambiguous = \"later\": remove it, or give a zone",
        "line 9: _timestamp.default = -1: give a timestamp such as",
        "line 10: _offset = \"offset\": can't be mapped: remove it, the loader sets it",
        "line 11: propertys: is an unknown key, did you mean properties?",
    ];
    let faults = faults(text);
    for wanted in wanted {
        assert!(faults.iter().any(|fault| fault.starts_with(wanted)), "no {wanted:?} in {faults:#?}");
    }
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
}

#[test]
fn faults_of_lists_uuids_and_objects_name_the_next_step() {
    for (line, wanted) in [
        ("event = []", "event = []: is empty: give at least one column"),
        ("event = [\"a\", \"a\"]", "event = [\"a\", \"a\"]: names \"a\" twice: remove one"),
        ("event = [\"a\", 1]", "event = [\"a\", 1]: give a list of columns in quotes"),
        ("event = true", "event = true: give a column of the file in quotes, or { constant = \"true\" }"),
        (
            "team_id = 7",
            "team_id = 7: give a column of the file in quotes, or { constant = 7 } for this value",
        ),
        (
            "timestamp = 2026-11-01T10:42:06Z",
            "timestamp = 2026-11-01T10:42:06Z: give a column of the file in quotes, or { constant = 2026-11-01T10:42:06Z }",
        ),
        (
            "uuid = { joined = [\"a\", \"b\"] }",
            "uuid.namespace: is required: add namespace = \"…\", any UUID",
        ),
        (
            "uuid = { joined = [\"a\"], namespace = \"x\" }",
            "uuid.joined = [\"a\"]: give at least two columns, or column = \"…\" for one",
        ),
        (
            "uuid = { column = \"a\", namespace = \"x\" }",
            "uuid.namespace = \"x\": give a UUID in quotes, the same one for all files of this export",
        ),
        (
            "uuid = { column = \"a\", joined = [\"a\", \"b\"] }",
            "uuid.joined = [\"a\", \"b\"]: a column is given too",
        ),
        ("uuid = { namespace = \"x\" }", "uuid.column: is required: add column = \"uuid\""),
        (
            "properties = { columns = [] }",
            "properties.columns = []: is empty: give at least one column, or \"*\" for all",
        ),
        (
            "properties = { columns = [\"*\"], default = \"x\" }",
            "properties.default = \"x\": remove it: columns and object make an object of their own",
        ),
        (
            "properties = { columns = [\"*\"], except = [\"*\"] }",
            "properties.except = [\"*\"]: give names, or the beginning of names such as \"context_*\"",
        ),
        (
            "properties = { column = \"p\", except = [\"a\"] }",
            "properties.except = [\"a\"]: remove it, or give columns = [\"…\"]",
        ),
    ] {
        let key = line.split(' ').next().expect("a key");
        let others: Vec<&str> = SMALL.lines().filter(|other| !other.starts_with(key)).collect();
        let text = format!("{line}\n{}", others.join("\n"));
        let wanted = format!("line 1: {wanted}");
        let found = faults(&text);
        assert!(found.iter().any(|fault| fault.starts_with(&wanted)), "no {wanted:?} in {found:#?}");
        let Err(MappingError::Faulty { faults, .. }) = parse(&text) else { panic!("faults of {line}") };
        assert!(faults.iter().all(|fault| fault.quote.is_some()), "{faults:#?}");
    }
}

#[test]
fn a_column_that_was_meant_as_a_constant_is_shown_as_one() {
    let columns =
        [("id", DataType::Utf8), ("name", DataType::Utf8), ("at", stamps()), ("who", DataType::Utf8)];
    let mapping = SMALL.replace("\"name\"", "\"sign-up\"") + "team_id = \"7\"\n";
    let next = "name another one, give a default, or write";
    assert_eq!(
        unfit(&mapping, &columns, None),
        [
            format!(
                "event ← sign-up: the file has no column \"sign-up\": {next} event = {{ constant = \"sign-up\" }} for this value in every row"
            ),
            format!(
                "team_id ← 7: the file has no column \"7\": {next} team_id = {{ constant = 7 }} for this value in every row"
            ),
        ]
    );
}

#[test]
fn the_example_is_right() {
    let example = include_str!("../../../../../mapping.example.toml");
    parse(example).unwrap_or_else(|error| panic!("{error}"));
    // The keys of columns that not every config has are comments.
    let whole = example.replace("# person_", "person_");
    let mapping =
        Mapping::parse(&whole, &EventProfile::Posthog.columns()).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(format!("{mapping:?}"), format!("{:?}", parse(example).expect("good")));
}

#[test]
fn presets_are_right_and_named_when_another_is_asked_for() {
    for (name, _) in PRESETS {
        Mapping::preset(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let error = Mapping::preset("identty", &[]).expect_err("there is none").to_string();
    assert!(error.contains("posthog-export, identity"), "{error}");
}

#[test]
fn columns_that_are_missing_or_of_the_wrong_type_are_found_before_the_first_row() {
    let columns = [
        ("ID", DataType::Utf8),
        ("name", DataType::Boolean),
        ("at", DataType::Int64),
        ("who", DataType::Struct(vec![Arc::new(Field::new("am_i", DataType::Utf8, true))].into())),
    ];
    let faults = unfit(&SMALL.replace("\"who\"", "\"who.amI\""), &columns, None);
    let wanted = [
        "uuid ← id: the file has no column \"id\", did you mean \"ID\"?",
        "event ← name: Boolean is not text",
        "timestamp ← at: Int64 has no unit: add unit =",
        "team_id: missing in the mapping and on the command line",
        "distinct_id ← who.amI: the file has no column \"who.amI\", did you mean \"who.am_i\"?",
    ];
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.starts_with(wanted), "{fault:?} is not {wanted:?}");
    }
}

#[test]
fn a_team_is_said_once() {
    let columns =
        [("id", DataType::Utf8), ("name", DataType::Utf8), ("at", stamps()), ("who", DataType::Utf8)];
    let mapping = format!("{SMALL}team_id = {{ constant = 3 }}\n");
    assert_eq!(
        unfit(&mapping, &columns, Some(4)),
        ["team_id: set in the mapping and on the command line (--team-id 4): leave one out"]
    );
    let mapper = parse(SMALL).expect("good").bind(&schema(&columns), Some(4)).expect("fits");
    assert_eq!(mapper.projection(), [0, 1, 2, 3]);
}

#[test]
fn a_team_of_the_file_is_never_replaced_without_a_word() {
    let columns = |team: &'static str, kind: DataType| {
        [
            ("id", DataType::Utf8),
            ("name", DataType::Utf8),
            ("at", stamps()),
            ("who", DataType::Utf8),
            (team, kind),
        ]
    };
    for (team, kind) in [("team_id", DataType::Utf8), ("teamId", DataType::Int64), ("team", DataType::Int32)]
    {
        let faults = unfit(SMALL, &columns(team, kind.clone()), Some(7));
        let wanted =
            format!("team_id: the file has the column {team}, and --team-id 7 would replace its values");
        assert!(faults.len() == 1 && faults[0].starts_with(&wanted), "{faults:?}");
        assert!(
            faults[0].contains("leave out --team-id") && faults[0].contains("{ constant = 7 }"),
            "{faults:?}"
        );
        let faults = unfit(SMALL, &columns(team, kind.clone()), None);
        assert!(faults[0].contains(&format!("add team_id = {team:?}")), "{faults:?}");
        // A mapping that names a team decides.
        let mapping = format!("{SMALL}team_id = {{ constant = 7 }}\n");
        assert!(parse(&mapping).expect("good").bind(&schema(&columns(team, kind)), None).is_ok());
    }
    for (other, kind) in
        [("team", DataType::Utf8), ("team_name", DataType::Utf8), ("steam_id", DataType::Int64)]
    {
        assert!(parse(SMALL).expect("good").bind(&schema(&columns(other, kind)), Some(7)).is_ok(), "{other}");
    }
}

#[test]
fn a_preset_without_a_team_reads_that_of_the_file() {
    let columns = [
        ("uuid", DataType::Utf8),
        ("event", DataType::Utf8),
        ("distinct_id", DataType::Utf8),
        ("properties", DataType::Utf8),
        ("timestamp", stamps()),
        ("team_id", DataType::Int64),
    ];
    let preset = Mapping::preset("posthog-export", &[]).expect("a preset");
    let mapper = preset.bind(&schema(&columns), None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(mapper.projection(), [0, 1, 2, 3, 4, 5]);
    let error = preset.bind(&schema(&columns), Some(7)).expect_err("a contradiction").to_string();
    assert!(error.contains("leave out --team-id to keep them;"), "{error}");
    let error = preset.bind(&schema(&columns[..5]), None).expect_err("no team").to_string();
    assert!(error.contains("or --team-id"), "{error}");
}

#[test]
fn a_column_that_is_there_twice_is_ambiguous() {
    let columns = [
        ("id", DataType::Utf8),
        ("id", DataType::Utf8),
        ("name", DataType::Utf8),
        ("at", stamps()),
        ("who", DataType::Utf8),
    ];
    assert_eq!(
        unfit(SMALL, &columns, Some(1)),
        ["uuid ← id: the file has this column more than once: rename one"]
    );
}

#[test]
fn a_fingerprint_is_of_the_meaning() {
    let plain = parse(SMALL).expect("good");
    let same = parse(
        "# the same\ndistinct_id = { column = \"who\" }\nevent = \"name\"\ntimestamp = { column = \"at\", zone = \"UTC\" }\nuuid = 'id'\n",
    )
    .expect("good");
    assert_eq!(plain.fingerprint(), same.fingerprint());
    let mut seen = vec![plain.fingerprint()];
    for other in [
        SMALL.replace("\"who\"", "\"whom\""),
        SMALL.replace("\"who\"", "{ column = \"who\", default = \"\" }"),
        SMALL.replace("\"at\"", "{ column = \"at\", unit = \"s\" }"),
        SMALL.replace("\"at\"", "{ column = \"at\", zone = \"Europe/Berlin\" }"),
        SMALL.replace("\"at\"", "{ column = \"at\", zone = \"Europe/Rome\" }"),
        SMALL.replace("\"at\"", "{ column = \"at\", zone = \"Europe/Rome\", ambiguous = \"later\" }"),
        format!("{SMALL}team_id = {{ constant = 1 }}"),
        SMALL.replace("\"who\"", "[\"who\", \"whom\"]"),
        SMALL.replace("\"who\"", "[\"whom\", \"who\"]"),
        SMALL.replace("\"id\"", "{ column = \"id\", namespace = \"5ec2a1c4-8f0e-4c8f-9a57-3f8f6f5a7a10\" }"),
        SMALL.replace("\"id\"", "{ column = \"id\", namespace = \"5ec2a1c4-8f0e-4c8f-9a57-3f8f6f5a7a11\" }"),
        SMALL.replace(
            "\"id\"",
            "{ joined = [\"id\", \"at\"], namespace = \"5ec2a1c4-8f0e-4c8f-9a57-3f8f6f5a7a11\" }",
        ),
        format!("{SMALL}properties = {{ columns = [\"*\"] }}"),
        format!("{SMALL}properties = {{ columns = [\"a\"] }}"),
        format!("{SMALL}properties = {{ columns = [\"a*\"] }}"),
        format!("{SMALL}properties = {{ columns = [\"a*\"], except = [\"ab\"] }}"),
        format!("{SMALL}properties = {{ columns = [\"a*\"], json = [\"ab\"] }}"),
        format!("{SMALL}properties = {{ columns = [\"a*\"], object = \"ab\" }}"),
        format!("{SMALL}properties = {{ columns = [\"a*\"], rename = {{ ab = \"c\" }} }}"),
    ] {
        let print = parse(&other).expect("good").fingerprint();
        assert!(!seen.contains(&print), "{other}");
        seen.push(print);
    }
    let columns =
        [("id", DataType::Utf8), ("name", DataType::Utf8), ("at", stamps()), ("who", DataType::Utf8)];
    let bound = |team| plain.bind(&schema(&columns), Some(team)).expect("fits").fingerprint().to_owned();
    assert_eq!(bound(1), bound(1));
    assert_ne!(bound(1), bound(2));
}

#[test]
fn fingerprints_of_core_loads_never_change() {
    // Ledgers of released versions contain them. Other values would refuse to resume a load.
    let core = parse(SMALL).expect("good");
    assert_eq!(core.fingerprint(), "779c9076227b77e23cbe2d8b068dc2a9200e9cbd421c6ebc9e452cc153da45b2");
    let columns =
        [("id", DataType::Utf8), ("name", DataType::Utf8), ("at", stamps()), ("who", DataType::Utf8)];
    let bound = core.bind(&schema(&columns), Some(7)).expect("fits");
    assert_eq!(bound.fingerprint(), "f180b6a4bcc39b9d6a6e33b4878457af43902f93b4f3e12b4bcb566402496fb2");
    let bound = core.bind_at("s3://b/team=1/x", &schema(&columns), Some(7)).expect("fits");
    assert_eq!(bound.fingerprint(), "f180b6a4bcc39b9d6a6e33b4878457af43902f93b4f3e12b4bcb566402496fb2");
    for (name, fingerprint) in [
        ("posthog-export", "5fcad5fbbdf51b709c2ba640ba3093632041df3394d1190f4894f4412aa5d16d"),
        ("identity", "5f9c14bf58ca1c9c915445c3fde89b3cffba51fd5b7ac499a19da36cba67b413"),
    ] {
        assert_eq!(Mapping::preset(name, &[]).expect("it is there").fingerprint(), fingerprint, "{name}");
    }
}

#[test]
fn columns_beyond_the_core_are_filled_by_name_and_are_part_of_the_fingerprint() {
    let identity = Mapping::preset("identity", &EventProfile::Posthog.columns()).expect("it is there");
    let plain = Mapping::preset("identity", &[]).expect("it is there");
    let mut columns = vec![
        ("uuid", DataType::Utf8),
        ("event", DataType::Utf8),
        ("timestamp", stamps()),
        ("team_id", DataType::Int64),
        ("distinct_id", DataType::Utf8),
    ];
    let bound = |mapping: &Mapping, columns: &[(&str, DataType)]| {
        mapping.bind(&schema(columns), None).unwrap_or_else(|error| panic!("{error}"))
    };
    // A file without the columns is loaded as before the schema had them.
    assert_eq!(bound(&identity, &columns).fingerprint(), bound(&plain, &columns).fingerprint());
    columns.extend([
        ("person_id", DataType::Utf8),
        ("inserted_at", stamps()),
        ("$session_id", DataType::Utf8),
    ]);
    let filled = bound(&identity, &columns);
    assert_eq!(filled.extra_names().collect::<Vec<_>>(), ["person_id"]);
    assert_eq!(filled.projection(), [0, 1, 2, 3, 4, 5]);
    let recorded = FilledColumn::in_fingerprint(filled.fingerprint()).expect("a good fingerprint");
    assert_eq!(recorded, [FilledColumn { name: "person_id".to_owned(), sql_type: "UUID".to_owned() }]);
    assert_eq!(bound(&plain, &columns).extra_names().count(), 0);
    // The same sources in a mapping file are the same load.
    let text = include_str!("../presets/identity.toml").to_owned() + "person_id = \"person_id\"\n";
    let given =
        Mapping::parse(&text, &EventProfile::Posthog.columns()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bound(&given, &columns).fingerprint(), filled.fingerprint());
    let text = text.replace(
        "\"person_id\"\n",
        "{ column = \"person_id\", default = \"018f3e5a-7b1c-7def-8abc-000000000000\" }\n",
    );
    let other =
        Mapping::parse(&text, &EventProfile::Posthog.columns()).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(bound(&other, &columns).fingerprint(), filled.fingerprint());
}

#[test]
fn a_column_beyond_the_core_of_the_wrong_type_is_found_before_the_first_row() {
    let identity = Mapping::preset("identity", &EventProfile::Posthog.columns()).expect("it is there");
    let columns = [
        ("uuid", DataType::Utf8),
        ("event", DataType::Utf8),
        ("timestamp", stamps()),
        ("team_id", DataType::Int64),
        ("distinct_id", DataType::Utf8),
        ("person_id", DataType::Int64),
        ("person_created_at", DataType::Int64),
        ("person_mode", DataType::Float64),
    ];
    let Err(MappingError::Unfit { faults, .. }) = identity.bind(&schema(&columns), None) else {
        panic!("it should not fit");
    };
    let wanted = [
        "person_id ← person_id: Int64 can't be read as UUID",
        "person_created_at ← person_created_at: Int64 has no unit: add unit =",
        "person_mode ← person_mode: Float64 can't be read as Enum8(",
    ];
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.starts_with(wanted), "{fault:?} is not {wanted:?}");
    }
}
