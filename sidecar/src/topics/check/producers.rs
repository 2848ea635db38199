//! Checks of person topics for messages of other producers.

use super::{CheckInput, Finding, fault};

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    let conflicts = found.conflicts.iter().filter(|topic| topic.conflicting > 0);
    let finding = |topic: &crate::persons::TopicConflicts| {
        let newest =
            topic.newest.as_ref().map_or(String::new(), |newest| format!(", the last one in {newest}"));
        fault(
            format!("topic {}", topic.topic),
            format!(
                "{} of the newest {} messages are another producer's, or have versions that hide posthouse's rows{newest}",
                topic.conflicting, topic.read
            ),
            "see posthouse persons check for the effect on posthouse run and the choices",
        )
    };
    conflicts.map(finding).collect()
}
