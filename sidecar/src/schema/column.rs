//! Parsing of a column declaration.

/// The parts of `name Type [DEFAULT …] [COMMENT …] [CODEC(…)] [STATISTICS(…)] [TTL …]
/// [SETTINGS(…)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ColumnDeclaration {
    /// With backticks.
    pub(crate) name: String,
    pub(crate) kind: String,
    /// `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`, and the expression.
    pub(crate) default: Option<(String, String)>,
    pub(crate) comment: Option<String>,
    pub(crate) codec: Option<String>,
    /// TTL, statistics and settings. Our own columns have none of them.
    pub(crate) rest: Vec<String>,
}

/// Keywords that `formatQuery` writes after a column's type.
const KEYWORDS: [&str; 10] = [
    "DEFAULT",
    "MATERIALIZED",
    "ALIAS",
    "EPHEMERAL",
    "COMMENT",
    "CODEC",
    "STATISTICS",
    "TTL",
    "COLLATE",
    "SETTINGS",
];

impl ColumnDeclaration {
    /// Parses an item of `formatQuery`; `None` if it isn't a column.
    pub(super) fn parse(item: &str) -> Option<Self> {
        let end = item.strip_prefix('`')?.find('`')? + 2;
        let (name, declared) = item.split_at_checked(end)?;
        let mut clauses = clauses(declared.trim_start()).into_iter();
        let (_, kind) = clauses.next()?;
        let mut column = Self { name: name.to_owned(), kind, ..Self::default() };
        for (keyword, text) in clauses {
            match keyword {
                "COMMENT" => column.comment = Some(text),
                "CODEC" => column.codec = Some(text),
                "DEFAULT" | "MATERIALIZED" | "ALIAS" | "EPHEMERAL" => {
                    column.default = Some((keyword.to_owned(), text));
                }
                keyword => column.rest.push(format!("{keyword} {text}")),
            }
        }
        Some(column)
    }

    /// Whether an INSERT may name the column.
    pub(super) fn is_stored_as_sent(&self) -> bool {
        self.default.as_ref().is_none_or(|(kind, _)| kind == "DEFAULT")
    }

    /// Whether the type is an enumeration that has the values of `former`, and more after them. A
    /// change to it rewrites no part.
    pub(super) fn extends_enum(&self, former: &Self) -> bool {
        let values = former.kind.strip_suffix(')').filter(|_| former.kind.starts_with("Enum"));
        let more = values.and_then(|values| self.kind.strip_prefix(values));
        more.is_some_and(|more| more.starts_with(", '"))
    }

    /// Name and type alone, as a Distributed table lists them.
    pub(super) fn plain(&self) -> String {
        format!("{} {}", self.name, self.kind)
    }
}

/// Returns the type under an empty keyword, then each clause with its keyword. Keywords inside
/// brackets or quotes belong to an expression.
fn clauses(text: &str) -> Vec<(&'static str, String)> {
    let mut clauses = vec![("", String::new())];
    let (mut depth, mut quote, mut escaped) = (0_i32, None, false);
    let mut word_begins = true;
    for (place, character) in text.char_indices() {
        if let (true, None, 0) = (word_begins, quote, depth)
            && let Some(keyword) = KEYWORDS.iter().find(|keyword| is_word(&text[place..], keyword))
        {
            clauses.push((keyword, String::new()));
        }
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '`') => quote = Some(character),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            _ => {}
        }
        word_begins = quote.is_none() && character.is_whitespace();
        if let Some((_, clause)) = clauses.last_mut() {
            clause.push(character);
        }
    }
    let bare = |(keyword, clause): (&'static str, String)| {
        (keyword, clause.strip_prefix(keyword).unwrap_or(&clause).trim().to_owned())
    };
    clauses.into_iter().map(bare).collect()
}

fn is_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(item: &str) -> ColumnDeclaration {
        ColumnDeclaration::parse(item).expect("a column")
    }

    #[test]
    fn takes_every_clause_apart() {
        let column = parsed(
            "`a` DateTime64(6, 'UTC') DEFAULT concat('it\\'s CODEC', x) COMMENT 'TTL x' CODEC(Delta(8), ZSTD(3)) TTL ts + toIntervalDay(3)",
        );
        assert_eq!(column.plain(), "`a` DateTime64(6, 'UTC')");
        assert_eq!(column.default, Some(("DEFAULT".to_owned(), "concat('it\\'s CODEC', x)".to_owned())));
        assert_eq!(column.comment.as_deref(), Some("'TTL x'"));
        assert_eq!(column.codec.as_deref(), Some("(Delta(8), ZSTD(3))"));
        assert_eq!(column.rest, ["TTL ts + toIntervalDay(3)"]);
    }

    #[test]
    fn an_enumeration_is_extended_by_values_at_its_end() {
        let is_extended = |wanted: &str, found: &str| {
            parsed(&format!("`a` {wanted}")).extends_enum(&parsed(&format!("`a` {found}")))
        };
        let former = "Enum8('a' = 1, 'b' = 2)";
        assert!(is_extended("Enum8('a' = 1, 'b' = 2, 'c' = 3)", former));
        for other in [
            former,
            "Enum8('a' = 1)",
            "Enum8('a' = 1, 'b' = 20)",
            "Enum16('a' = 1, 'b' = 2, 'c' = 3)",
            "String",
        ] {
            assert!(!is_extended(other, former), "{other}");
        }
    }

    #[test]
    fn keeps_keywords_inside_brackets_and_names() {
        let column = parsed("`ALIAS x` Tuple(`TTL` String) MATERIALIZED f(x, (`DEFAULT `))");
        assert_eq!(column.plain(), "`ALIAS x` Tuple(`TTL` String)");
        assert_eq!(column.default.map(|(_, text)| text).as_deref(), Some("f(x, (`DEFAULT `))"));
        assert!(!parsed("`m` String MATERIALIZED upper(a)").is_stored_as_sent());
        assert!(parsed("`m` DateTime DEFAULT now()").is_stored_as_sent());
    }

    #[test]
    fn takes_any_text_without_panic() {
        for text in ["", "`", "``", "`a`", "INDEX a b", "`a` )))", "`a` 'b", "`é` ü MATERIALIZED"] {
            let _ = ColumnDeclaration::parse(text);
        }
    }
}
