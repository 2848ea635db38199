//! Column of the team, recognized by its name.

use arrow_schema::Fields;

/// Returns the column of a file that holds the team by its name: `team_id` in any spelling, such as
/// `teamId`, or a `team` of whole numbers.
pub(super) fn team_column(fields: &Fields) -> Option<&str> {
    let bare = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let id = fields.iter().find(|field| bare(field.name()) == "teamid");
    // A `team` of text is rather a property, such as a sports team.
    let number =
        || fields.iter().find(|field| bare(field.name()) == "team" && field.data_type().is_integer());
    id.or_else(number).map(|field| field.name().as_str())
}
