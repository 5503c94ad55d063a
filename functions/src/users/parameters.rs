//! Parameters of paths and queries, and fields, of the routes that manage accounts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::db::users::list::Status;
use shared::extract::Invalid;
use shared::role::Role;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

/// Entries of a page unless another number is asked for.
pub(super) const PAGE: i64 = 50;
/// Most entries of a page. No setting: an answer stays under a megabyte.
const LARGEST_PAGE: i64 = 200;

/// Result of a value that was sent.
type Parsed<T> = Result<T, Invalid>;

/// Leaves one page, and says whether there was more.
pub(super) fn cut<T>(entries: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    more
}

/// An id of the path. What is no id is one that nobody has; who may ask is checked all the same.
pub(super) fn parse_id(text: &str) -> Uuid {
    text.parse().unwrap_or(Uuid::nil())
}

pub(super) fn parse_uuid(text: &str) -> Parsed<Uuid> {
    text.parse().map_err(|_| Invalid::new("unknown_value", "Send a UUID."))
}

pub(super) fn parse_status(text: &str) -> Parsed<Status> {
    let wrong = || Invalid::new("unknown_value", "Send `active` or `disabled`.");
    Status::find(text).ok_or_else(wrong)
}

pub(super) fn parse_role(text: &str) -> Parsed<Role> {
    let wrong = || Invalid::new("unknown_value", "Send `member`, `moderator` or `admin`.");
    Role::find(text).ok_or_else(wrong)
}

/// The roles an account is to have; every account is a member.
#[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::optional_list calls")]
pub(super) fn parse_roles(names: Vec<String>) -> Parsed<Vec<Role>> {
    let given: Vec<Role> = names.iter().map(|name| parse_role(name)).collect::<Parsed<_>>()?;
    Ok(Role::ALL.into_iter().filter(|role| *role == Role::Member || given.contains(role)).collect())
}

pub(super) fn parse_cursor(text: &str) -> Parsed<String> {
    let wrong = || Invalid::new("unknown_value", "Send the `next_cursor` of the page before.");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    String::from_utf8(bytes).ok().filter(|name| !name.contains('\0')).ok_or_else(wrong)
}

pub(super) fn parse_place(text: &str) -> Parsed<i64> {
    let wrong = "Send the `next_cursor` of the page before.";
    text.parse().map_err(|_| Invalid::new("unknown_value", wrong))
}

pub(super) fn parse_limit(text: &str) -> Parsed<i64> {
    let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
    let wrong =
        || Invalid::new("unknown_value", format!("Send a number from 1 to {LARGEST_PAGE}."));
    limit.ok_or_else(wrong)
}

pub(super) fn parse_time(text: &str) -> Parsed<OffsetDateTime> {
    let wrong = || Invalid::new("unknown_value", "Send a time like `2026-11-22T20:00:00Z`.");
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    // In the last hours of the year 9999 another offset may leave what can be counted.
    time.checked_to_offset(UtcOffset::UTC).ok_or_else(wrong)
}
