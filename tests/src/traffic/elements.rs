//! Clicked elements of an autocaptured event, and their text form in a message.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Tags that `elements_chain_elements` has.
const CLICKABLE: [&str; 7] = ["a", "button", "form", "input", "select", "textarea", "label"];

/// An element of a page, the clicked one or one around it.
#[derive(Debug, Clone, Default)]
pub(super) struct PageElement {
    tag: &'static str,
    classes: &'static [&'static str],
    /// Names and values, in the order of the names. Values are as the page has them.
    attributes: Vec<(&'static str, String)>,
}

/// Elements from the clicked one outwards.
#[derive(Debug, Clone, Default)]
pub(super) struct ElementsChain(Vec<PageElement>);

impl PageElement {
    fn new(tag: &'static str, classes: &'static [&'static str], attributes: &[(&'static str, &str)]) -> Self {
        let attributes = attributes.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { tag, classes, attributes }
    }

    fn value(&self, name: &str) -> Option<&String> {
        self.attributes.iter().find_map(|(known, value)| (*known == name).then_some(value))
    }
}

/// Chains with every character that separates their parts: quotes, semicolons, colons, dots,
/// brackets; and backslashes.
fn chains() -> Vec<ElementsChain> {
    let new = PageElement::new;
    let around = || new("div", &["content"], &[("nth-child", "2"), ("nth-of-type", "1")]);
    vec![
        ElementsChain(vec![
            new(
                "a",
                &["btn", "btn-primary"],
                &[
                    ("attr__href", "/no"),
                    ("attr_id", "buy"),
                    ("href", "/pricing?a=1;b=2"),
                    ("text", "Buy \"now\"; save"),
                ],
            ),
            around(),
            new("body", &[], &[]),
        ]),
        ElementsChain(vec![
            new("span", &[], &[("nth-child", "1"), ("text", "日本語 🦔 é")]),
            new("a", &[], &[("attr_id", "docs"), ("href", "/docs#a:b.c"), ("text", "Docs")]),
            around(),
        ]),
        ElementsChain(vec![
            new(
                "button",
                &["w-1.5"],
                &[("attr__data-x", "text=\"none\""), ("attr_id", "save"), ("text", "C:\\dir\\file")],
            ),
            new("form", &[], &[("attr__action", "/save;href=\"/none\""), ("attr_id", "settings")]),
        ]),
        ElementsChain(vec![
            new("input", &[], &[("attr__type", "checkbox"), ("nth-child", "1")]),
            new("label", &["field"], &[("text", "a.b:c;d[e]{f}")]),
            new("input", &[], &[]),
        ]),
        ElementsChain(vec![new("article", &["a", "button"], &[("text", "a;button:form=\"x\"")]), around()]),
        ElementsChain(vec![
            new("a", &[], &[("href", "https://example.org/?q=\"quoted\""), ("text", "Docs")]),
            new("a", &[], &[("href", "/second"), ("text", "Docs")]),
        ]),
    ]
}

impl ElementsChain {
    pub(super) fn random(random: &mut StdRng) -> Self {
        chains().choose(random).cloned().unwrap_or_default()
    }

    /// As the app writes it: a quote within a value has a backslash before it, and all else is as
    /// in the page.
    pub(super) fn text(&self) -> String {
        let element = |element: &PageElement| {
            let mut text = element.tag.to_owned();
            for class in element.classes {
                text = text + "." + class;
            }
            if !element.attributes.is_empty() {
                text.push(':');
            }
            for (name, value) in &element.attributes {
                // Writing to a `String` can't fail.
                let _ = write!(text, "{name}=\"{}\"", value.replace('"', "\\\""));
            }
            text
        };
        self.0.iter().map(element).collect::<Vec<_>>().join(";")
    }

    pub(super) fn href(&self) -> String {
        self.0.iter().find_map(|element| element.value("href")).cloned().unwrap_or_default()
    }

    /// Values of one attribute, each once.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        unique(self.0.iter().filter_map(|element| element.value(name).cloned()))
    }

    /// Clickable tags, each once.
    pub(super) fn tags(&self) -> Vec<String> {
        unique(
            self.0
                .iter()
                .map(|element| element.tag.to_owned())
                .filter(|tag| CLICKABLE.contains(&tag.as_str())),
        )
    }
}

fn unique(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}
