//! Rendering of the servers' configuration from templates in `fixtures/stack`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// Renders one template. An unknown name in it is an error.
pub(crate) fn render(template: &str, values: minijinja::Value) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("xml", xml);
    Ok(environment.render_str(template, values)?)
}

/// Renders one template into a file.
pub(crate) fn write(path: &Path, template: &str, values: minijinja::Value) -> anyhow::Result<()> {
    let text = render(template, values).with_context(|| format!("cannot render {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Escapes text for XML content.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_a_missing_name_is_an_error() {
        let values = minijinja::context! { path => "/a&b<c>" };
        assert_eq!(
            render("<path>{{ path|xml }}</path>", values.clone()).unwrap(),
            "<path>/a&amp;b&lt;c&gt;</path>"
        );
        assert!(render("{{ paht }}", values).is_err());
    }
}
