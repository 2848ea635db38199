//! Commands and statements of the documentation that a test runs.
//!
//! A block is marked in its first line: `console,runnable` or `sql,runnable`. Of a console block
//! with prompts (`$ `) the other lines are output. A comment `# exit code 3: …` behind a command
//! is the code that it must end with.

use anyhow::{Context, bail, ensure};

const FENCE: &str = "```";
const MARK: &str = "runnable";
/// The programs that a command may start with.
const PROGRAMS: [&str; 2] = ["posthouse", "curl"];

/// The interpreter of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A shell, which must return this exit code.
    Console { code: i32 },
    /// A ClickHouse node.
    Sql,
}

/// A command, or a statement of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line in its page, from 1.
    pub line: usize,
    pub language: Language,
    pub text: String,
}

/// A marked block, without its fences and its indentation.
struct Block<'a> {
    /// The line of its first fence, from 1.
    line: usize,
    language: &'a str,
    lines: Vec<&'a str>,
}

/// Returns the steps of a page's marked blocks, in order.
///
/// # Errors
/// Fails if a marked block can't be parsed. The error names its line.
pub fn steps(page: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for block in blocks(page)? {
        let found = match block.language {
            "console" => commands(&block),
            "sql" => Ok(statements(&block)),
            other => bail!("line {}: a block of {other:?} can't be {MARK}: use console or sql", block.line),
        }?;
        ensure!(!found.is_empty(), "line {}: the block is empty", block.line);
        for step in &found {
            ensure!(!step.text.contains('…'), "line {}: … is a placeholder: {}", step.line, step.text);
        }
        steps.extend(found);
    }
    Ok(steps)
}

fn blocks(page: &str) -> anyhow::Result<Vec<Block<'_>>> {
    let (mut blocks, mut lines) = (Vec::new(), page.lines().zip(1..));
    while let Some((first, line)) = lines.next() {
        let Some(info) = first.trim_start().strip_prefix(FENCE) else { continue };
        let indentation = first.len() - first.trim_start().len();
        let mut inside = Vec::new();
        loop {
            let (next, _) = lines.next().with_context(|| format!("line {line}: the block has no end"))?;
            if next.trim() == FENCE {
                break;
            }
            inside.push(next.get(indentation..).unwrap_or_default());
        }
        let (language, marks) = info.split_once(',').unwrap_or((info, ""));
        ensure!(marks.is_empty() || marks == MARK, "line {line}: {marks:?} is not the mark {MARK:?}");
        if marks == MARK {
            blocks.push(Block { line, language, lines: inside });
        }
    }
    Ok(blocks)
}

fn commands(block: &Block<'_>) -> anyhow::Result<Vec<Step>> {
    let has_prompts = block.lines.iter().any(|line| line.starts_with("$ "));
    let mut commands = Vec::new();
    for (text, line) in block.lines.iter().zip(block.line + 1..) {
        let text = if has_prompts { text.strip_prefix("$ ").unwrap_or_default() } else { text };
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let program = text.split(' ').next().unwrap_or_default();
        ensure!(PROGRAMS.contains(&program), "line {line}: {program:?} is none of {PROGRAMS:?}: {text}");
        ensure!(!text.ends_with('\\'), "line {line}: a command must be one line: {text}");
        let code = code(text).with_context(|| format!("line {line}: {text}"))?;
        commands.push(Step { line, language: Language::Console { code }, text: text.trim_end().to_owned() });
    }
    Ok(commands)
}

/// The exit code that a command states; 0 if it states none.
fn code(command: &str) -> anyhow::Result<i32> {
    let Some((_, comment)) = command.split_once(" # ") else { return Ok(0) };
    let Some((_, rest)) = comment.split_once("exit code ") else { return Ok(0) };
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().context("`exit code` needs a number")
}

fn statements(block: &Block<'_>) -> Vec<Step> {
    let mut statements: Vec<Step> = Vec::new();
    let mut is_open = false;
    for (text, line) in block.lines.iter().zip(block.line + 1..) {
        let is_last = text.trim_end().ends_with(';');
        let text = text.trim_end().trim_end_matches(';');
        match statements.last_mut().filter(|_| is_open) {
            Some(statement) => statement.text += &format!("\n{text}"),
            None if text.is_empty() => continue,
            None => statements.push(Step { line, language: Language::Sql, text: text.to_owned() }),
        }
        is_open = !is_last;
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: usize, code: i32, text: &str) -> Step {
        Step { line, language: Language::Console { code }, text: text.to_owned() }
    }

    #[test]
    fn marked_blocks_are_commands_and_statements() {
        let page = "```console\nposthouse a\n```\n```console,runnable\nposthouse b '#'  # why\n\n\
            posthouse c # two; exit code 3: yes\n```\n1. x\n\n   ```sql,runnable\n   SELECT\n       1;\n   SELECT 2\n   ```\n";
        let sql = |line, text: &str| Step { line, language: Language::Sql, text: text.to_owned() };
        let expected = [
            command(5, 0, "posthouse b '#'  # why"),
            command(7, 3, "posthouse c # two; exit code 3: yes"),
            sql(12, "SELECT\n    1"),
            sql(14, "SELECT 2"),
        ];
        assert_eq!(steps(page).expect("valid"), expected);
    }

    #[test]
    fn lines_without_a_prompt_are_output() {
        let page = "```console,runnable\n$ curl -s a\nready\n$ posthouse b\n```";
        let expected = [command(2, 0, "curl -s a"), command(4, 0, "posthouse b")];
        assert_eq!(steps(page).expect("valid"), expected);
    }

    #[test]
    fn blocks_that_no_test_can_run_are_errors() {
        for (block, error) in [
            ("console,runnable\nrm -rf x", "line 2: \"rm\" is none of"),
            ("console,runnable\nposthouse a # exit code three", "needs a number"),
            ("console,runnable\nposthouse a …", "placeholder"),
            ("console,runnable\nposthouse a \\", "one line"),
            ("console,runnable", "line 1: the block is empty"),
            ("toml,runnable\na = 1", "use console or sql"),
            ("sql,runable\nSELECT 1", "not the mark"),
        ] {
            let found = format!("{:#}", steps(&format!("```{block}\n```")).expect_err(block));
            assert!(found.contains(error), "{block}: {found}");
        }
        assert!(steps("```sql,runnable\nSELECT 1").is_err());
    }
}
