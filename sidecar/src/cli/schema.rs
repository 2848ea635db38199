//! `posthouse schema`: shows, compares and brings about the tables of every node.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use posthouse::config::Config;
use posthouse::node::Node;
use posthouse::schema::{self, Action, Change, Difference, Plan, Step};
use serde::Serialize;

use super::Outcome;
use super::output::Output;

const RENDER: &str = "\
Example:
  posthouse schema render --node ch2 | less    what ch2 should have, statement by statement";

const PLAN: &str = "\
Signs:  + missing, made    ~ different, altered or made again    ! different, left to you
Exit code 3 if there is anything.";

const APPLY: &str = "\
Examples:
  posthouse schema apply --dry-run    the same as posthouse schema plan
  posthouse schema apply              take the steps; safe to repeat, also after a failure

Node after node stops consuming while its tables change and resumes where it was: nothing is lost or repeated.";

#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Print the statements of a node, without connecting to anything
    #[command(after_help = RENDER)]
    Render(Render),
    /// Show what is missing, different or extra, and the steps that apply would take
    #[command(after_help = PLAN)]
    Plan,
    /// Take the steps of the plan, then compare again
    #[command(after_help = APPLY)]
    Apply(Apply),
    /// Say whether anything differs; exit code 3 if so
    Check,
}

#[derive(Debug, Args)]
pub(super) struct Render {
    /// The node, by its name in the config; the first if left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Only show what would be done; exit code 3 if there is anything
    #[arg(long)]
    dry_run: bool,
}

/// What `plan --json` and `check --json` print.
#[derive(Serialize)]
struct Planned {
    nodes: Vec<Plan>,
    steps: Vec<Step>,
}

/// What `apply --json` prints.
#[derive(Serialize)]
struct Applied {
    done: Vec<Step>,
    left: Vec<Plan>,
}

/// What `render --json` prints.
#[derive(Serialize)]
struct Rendered {
    object: &'static str,
    sql: String,
}

impl Schema {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        let nodes = Node::all(config);
        match self {
            Self::Render(arguments) => render(config, &nodes, arguments.node.as_deref(), output),
            Self::Plan | Self::Apply(Apply { dry_run: true }) => {
                let planned = plan(config, &nodes).await?;
                output.print(&planned, plan_text)?;
                Ok(planned.outcome())
            }
            Self::Check => {
                let planned = plan(config, &nodes).await?;
                output.print(&planned, |planned| changes_text(&planned.nodes) + &summary(&planned.nodes))?;
                Ok(planned.outcome())
            }
            Self::Apply(Apply { dry_run: false }) => apply(config, &nodes, output).await,
        }
    }
}

impl Planned {
    fn outcome(&self) -> Outcome {
        Outcome::differs_if(self.nodes.iter().any(|plan| !plan.changes.is_empty()))
    }
}

fn render(config: &Config, nodes: &[Node], name: Option<&str>, output: Output) -> anyhow::Result<Outcome> {
    let node = match name {
        None => nodes.first().context("the config has no node")?,
        Some(name) => nodes.iter().find(|node| node.name == name).with_context(|| {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            format!("the config has no node {name}: take one of {}", names.join(", "))
        })?,
    };
    let statements = schema::render(config, node)?.into_iter();
    let rendered: Vec<Rendered> =
        statements.map(|statement| Rendered { object: statement.object.name, sql: statement.sql }).collect();
    let text = |rendered: &Vec<Rendered>| {
        rendered.iter().map(|statement| format!("{};\n", statement.sql)).collect::<Vec<_>>().join("\n")
    };
    output.print(&rendered, text)?;
    Ok(Outcome::Clean)
}

async fn plan(config: &Config, nodes: &[Node]) -> anyhow::Result<Planned> {
    let plans = schema::observe(config, nodes).await?;
    let steps = schema::steps(&config.database, &plans)?;
    Ok(Planned { nodes: plans, steps })
}

async fn apply(config: &Config, nodes: &[Node], output: Output) -> anyhow::Result<Outcome> {
    let Planned { steps, .. } = plan(config, nodes).await?;
    let count = steps.len();
    let width = count.to_string().len();
    let say = |number, step: &Step| eprintln!("{number:>width$}/{count} {} {}", step.node, step.summary);
    schema::apply(config, nodes, &steps, say).await?;
    let left = schema::observe(config, nodes).await?;
    let applied = Applied { done: steps, left };
    output.print(&applied, |applied| {
        let steps = if applied.done.len() == 1 { "step" } else { "steps" };
        format!(
            "{}{} {steps} done, {}",
            changes_text(&applied.left),
            applied.done.len(),
            summary(&applied.left)
        )
    })?;
    let ours = |change: &&Change| !matches!(change.action, Action::Leave { .. });
    if let Some((plan, change)) =
        applied.left.iter().find_map(|plan| Some((plan, plan.changes.iter().find(ours)?)))
    {
        bail!("{} on {} differs again after apply: is somebody else changing it?", change.object, plan.node);
    }
    Ok(Outcome::differs_if(applied.left.iter().any(|plan| !plan.changes.is_empty())))
}

fn plan_text(planned: &Planned) -> String {
    let mut text = changes_text(&planned.nodes);
    if !planned.steps.is_empty() {
        text.push_str("Steps of apply:\n");
        let width = planned.steps.len().to_string().len();
        for (number, step) in (1..).zip(&planned.steps) {
            text.push_str(&format!("  {number:>width$}  {}  {}\n", step.node, step.summary));
        }
        text.push('\n');
    }
    text + &summary(&planned.nodes)
}

fn changes_text(plans: &[Plan]) -> String {
    let mut text = String::new();
    for plan in plans.iter().filter(|plan| !plan.changes.is_empty()) {
        text.push_str(&format!("{}\n", plan.node));
        for change in &plan.changes {
            text.push_str(&change_text(change));
        }
        text.push('\n');
    }
    text
}

fn change_text(change: &Change) -> String {
    let (sign, action) = match &change.action {
        Action::CreateDatabase | Action::Create { .. } => ('+', "missing".to_owned()),
        Action::Upgrade { .. } => ('+', "upgrade to come".to_owned()),
        Action::Recreate { .. } => ('~', "made again".to_owned()),
        Action::Alter { .. } => ('~', "altered".to_owned()),
        Action::Leave { next_step } => ('!', next_step.clone()),
    };
    let mut text = format!("  {sign} {:<27} {action}\n", change.object);
    for difference in &change.differences {
        text.push_str(&difference_text(difference));
    }
    text
}

/// The lines that one side has and the other lacks; whole clauses would hide the one word that differs.
fn difference_text(difference: &Difference) -> String {
    let lines = |side: &Option<String>| {
        side.iter().flat_map(|text| text.lines()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (wanted, found) = (lines(&difference.wanted), lines(&difference.found));
    let only = |sign: char, here: &[String], there: &[String]| -> String {
        here.iter()
            .filter(|line| !there.contains(line))
            .map(|line| format!("        {sign} {}\n", line.trim()))
            .collect()
    };
    format!("      {}\n{}{}", difference.part, only('-', &found, &wanted), only('+', &wanted, &found))
}

fn summary(plans: &[Plan]) -> String {
    let differing = plans.iter().filter(|plan| !plan.changes.is_empty()).count();
    let changes: usize = plans.iter().map(|plan| plan.changes.len()).sum();
    match changes {
        0 => format!("all {} nodes are as the config wants them", plans.len()),
        _ => format!("{changes} differences on {differing} of {} nodes", plans.len()),
    }
}
