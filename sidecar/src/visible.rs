//! Visible forms of control characters in text from outside.
//!
//! Names and errors of servers, keys of objects and names of files may hold the escape sequences of
//! a terminal, which move its cursor, set its title or hide text. All output passes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns the text with its control characters as `\uXXXX`, except newlines and tabs. JSON stays
/// the same value, because its strings alone can hold such characters.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |character| is_hostile(character) && !matches!(character, '\n' | '\t'))
}

/// Like [`visible`], for a text that has to stay on one line.
pub(crate) fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hostile)
}

fn escaped(text: &str, is_refused: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_refused) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !is_refused(character) => shown.push(character),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal obeys the character instead of showing it: C0, DEL, C1, separators of lines,
/// marks of direction (Trojan Source, CVE-2021-42574), and characters without any width. Joiners
/// of letters (U+200C, U+200D) are part of words and of emoji.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(character, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_control_character_visibly() {
        for (text, shown) in [
            ("plain – ünïcödé 👩‍🚀\n\tindented", "plain – ünïcödé 👩‍🚀\n\tindented"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u001b[2J\\u001b]0;title\\u0007"),
            ("over\rwritten\u{8}\0", "over\\rwritten\\u0008\\u0000"),
            ("\u{7f}\u{9b}31m\u{85}", "\\u007f\\u009b31m\\u0085"),
            ("a\u{202e}txt.exe\u{2069}", "a\\u202etxt.exe\\u2069"),
            ("\u{e0041}\u{feff}\u{200b}\u{2028}", "\\udb40\\udc41\\ufeff\\u200b\\u2028"),
        ] {
            assert_eq!(visible(text), shown);
            assert!(!visible(text).chars().any(|c| is_hostile(c) && c != '\n' && c != '\t'));
        }
        assert_eq!(visible_line("a\nposthouse: done\t"), "a\\nposthouse: done\\t");
    }

    #[test]
    fn keeps_the_value_of_json() {
        let hostile: String = ('\0'..'\u{3000}').chain('\u{e0000}'..'\u{e0080}').collect();
        let document = serde_json::to_string_pretty(&[&hostile]).expect("strings have a form");
        let shown = visible(&document);
        assert!(!shown.chars().any(|c| is_hostile(c) && c != '\n'), "{shown}");
        let read: Vec<String> = serde_json::from_str(&shown).expect("still JSON");
        assert_eq!(read, [hostile]);
    }
}
