//! What `bkes --help`, the manual page and docs/cli.md say of all verbs together.

use crate::address::SERVERS;
use crate::byte_argument::FORMS;
use crate::exit::EXIT_CODES;
use crate::format::TOKENS;
use crate::json_event::FIELDS;

/// It, in sections.
pub fn everywhere() -> String {
    let mut sections = vec![SERVERS, FORMS, FIELDS, TOKENS];
    #[cfg(feature = "kafka")]
    sections.push(crate::topic_args::PROPERTIES);
    sections.push(EXIT_CODES);
    sections.join("\n\n")
}
