//! What `bkes --help`, the manual page and docs/cli.md say of all verbs together.

use crate::address::SERVERS;
use crate::byte_argument::FORMS;
use crate::exit::EXIT_CODES;
use crate::format::TOKENS;
use crate::json_event::FIELDS;

/// It, in sections.
pub fn everywhere() -> String {
    [SERVERS, FORMS, FIELDS, TOKENS, EXIT_CODES].join("\n\n")
}
