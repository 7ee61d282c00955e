//! Which licences a dependency may have: those that ask for no more than their notice.

/// Licences that everything here may be linked with.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// The complaint about a package with this licence expression, if there is one.
pub fn complaint(package: &str, license: Option<&str>) -> Option<String> {
    let Some(license) = license else { return Some(format!("{package}: its licence is not named")) };
    let parser = Parser { words: words(license) };
    match parser.whole() {
        Some(true) => None,
        Some(false) => {
            Some(format!("{package}: licence {license} is not on the list of xtask/src/tidy/licences.rs"))
        }
        None => Some(format!("{package}: licence {license:?} cannot be read")),
    }
}

/// The words of an SPDX expression, last first. A slash is the old way to write OR.
fn words(license: &str) -> Vec<String> {
    let spaced = license.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    spaced.split_whitespace().rev().map(str::to_owned).collect()
}

/// Reads `or = and {OR and}`, `and = one {AND one}`, `one = ( or ) | NAME [WITH EXCEPTION]`.
struct Parser {
    words: Vec<String>,
}

impl Parser {
    fn whole(mut self) -> Option<bool> {
        let allowed = self.or()?;
        self.words.is_empty().then_some(allowed)
    }

    fn or(&mut self) -> Option<bool> {
        let mut allowed = self.and()?;
        while self.take("OR") {
            allowed |= self.and()?;
        }
        Some(allowed)
    }

    fn and(&mut self) -> Option<bool> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Some(allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let allowed = self.or()?;
            return self.take(")").then_some(allowed);
        }
        let name = self.words.pop().filter(|word| !matches!(word.as_str(), "OR" | "AND" | "WITH" | ")"))?;
        if self.take("WITH") {
            // An exception only adds permissions.
            self.words.pop()?;
        }
        Some(ALLOWED.contains(&name.as_str()))
    }

    fn take(&mut self, word: &str) -> bool {
        self.words.pop_if(|last| last == word).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_as_a_whole() {
        let table = [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only/MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND AGPL-3.0-only", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ];
        for (license, allowed) in table {
            assert_eq!(complaint("a", Some(license)).is_none(), allowed, "{license}");
        }
    }

    #[test]
    fn a_missing_or_unreadable_licence_is_a_complaint() {
        assert_eq!(complaint("a", None).as_deref(), Some("a: its licence is not named"));
        for license in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "OR MIT"] {
            let complaint = complaint("a", Some(license)).expect(license);
            assert!(complaint.ends_with("cannot be read"), "{complaint}");
        }
    }
}
