//! Settings profiles with their inherited settings.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Limit on the depth of inheritance, because profiles can inherit from each other in a circle.
const MAX_DEPTH: usize = 32;

/// One row of `system.settings_profile_elements`: a setting or a parent of a profile.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Element {
    profile: String,
    setting: Option<String>,
    value: Option<String>,
    parent: Option<String>,
}

/// Returns all settings of the profile `name`. Of several elements for one setting the last wins.
pub(super) fn profile(elements: &[Element], name: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    collect(elements, name, MAX_DEPTH, &mut values);
    values
}

fn collect(elements: &[Element], name: &str, depth: usize, values: &mut BTreeMap<String, String>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for element in elements.iter().filter(|element| element.profile == name) {
        if let Some(parent) = &element.parent {
            collect(elements, parent, depth, values);
        }
        if let (Some(setting), Some(value)) = (&element.setting, &element.value) {
            values.insert(setting.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(profile: &str, setting: &str, value: &str) -> Element {
        let (profile, some) = (profile.to_owned(), |text: &str| Some(text.to_owned()));
        Element { profile, setting: some(setting), value: some(value), parent: None }
    }

    fn parent(profile: &str, parent: &str) -> Element {
        Element { profile: profile.to_owned(), setting: None, value: None, parent: Some(parent.to_owned()) }
    }

    #[test]
    fn takes_the_last_of_own_and_inherited_values() {
        let elements = [
            element("base", "a", "1"),
            element("base", "b", "1"),
            parent("default", "base"),
            element("default", "b", "2"),
            element("other", "a", "3"),
        ];
        let values = profile(&elements, "default");
        assert_eq!(values.get("a").map(String::as_str), Some("1"));
        assert_eq!(values.get("b").map(String::as_str), Some("2"));
    }

    #[test]
    fn ends_when_profiles_inherit_in_a_circle() {
        let values = profile(&[parent("a", "b"), parent("b", "a"), element("b", "c", "1")], "a");
        assert_eq!(values.len(), 1);
    }
}
