//! Documents that name tests: each test they name must exist, so that a promise cannot outlive its proof.
//!
//! A paragraph of a document that begins with `Tests:` names tests in backticks, by the name of the function, with or
//! without modules before it.

/// A complaint for each test that a document names and no Rust file has.
pub fn complaints(files: &[(String, String)]) -> Vec<String> {
    let has_test = |name: &str| {
        let function = format!("fn {}(", name.rsplit("::").next().unwrap_or(name));
        files.iter().any(|(path, content)| path.ends_with(".rs") && content.contains(&function))
    };
    let mut complaints = Vec::new();
    for (path, content) in files.iter().filter(|(path, _)| path.starts_with("docs/") && path.ends_with(".md"))
    {
        for name in named_tests(content) {
            if !has_test(name) {
                complaints.push(format!("{path}: no test is called {name}"));
            }
        }
    }
    complaints
}

fn named_tests(document: &str) -> impl Iterator<Item = &str> {
    let paragraphs = document.split("\n\n").map(str::trim_start);
    let of_tests = paragraphs.filter(|paragraph| paragraph.starts_with("Tests:"));
    of_tests.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str) -> Vec<String> {
        let file = |path: &str, content: &str| (path.to_owned(), content.to_owned());
        complaints(&[
            file("docs/a.md", document),
            file("crates/a/src/lib.rs", "#[test]\nfn events_are_kept() {}\n"),
        ])
    }

    #[test]
    fn a_test_that_exists_may_be_named() {
        assert_eq!(
            check("P1. Events are kept.\n\nTests: `events_are_kept`, `tests::events_are_kept`.\n"),
            [""; 0]
        );
        assert_eq!(check("A word in backticks, `events_are_lost`, is no test.\n"), [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let complaints = check("P1.\n\nTests: `events_are_kept`,\n`events_are_kept_for_ever`.\n");
        assert_eq!(complaints, ["docs/a.md: no test is called events_are_kept_for_ever"]);
    }
}
