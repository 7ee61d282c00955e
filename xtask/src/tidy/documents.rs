//! Documents name tests and files: each must exist, so that a promise cannot outlive its proof, or a link its target.
//!
//! A paragraph of a document that begins with `Tests:` names tests in backticks, by the name of the function, with or
//! without modules before it; so does the last column of a table if it is headed `tests`. Links to other sites are not
//! followed.

use std::path::{Component, Path, PathBuf};

/// A complaint for each test that a document names and no Rust file has, and each link to a file that is not there.
pub fn complaints(files: &[(String, String)]) -> Vec<String> {
    let has_test = |name: &str| {
        let function = format!("fn {}(", name.rsplit("::").next().unwrap_or(name));
        files.iter().any(|(path, content)| path.ends_with(".rs") && content.contains(&function))
    };
    let has_path = |wanted: &Path| files.iter().any(|(path, _)| Path::new(path).starts_with(wanted));
    let mut complaints = Vec::new();
    for (path, content) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for name in named_tests(content).filter(|name| !has_test(name)) {
            complaints.push(format!("{path}: no test is called {name}"));
        }
        for link in links(content).filter(|link| !has_path(&target(path, link))) {
            complaints.push(format!("{path}: the link to {link} leads nowhere"));
        }
    }
    complaints
}

fn named_tests(document: &str) -> impl Iterator<Item = &str> {
    let paragraphs = document.split("\n\n").map(str::trim_start);
    let of_tests = paragraphs.filter(|paragraph| paragraph.starts_with("Tests:"));
    of_tests.chain(last_cells(document)).flat_map(|text| text.split('`').skip(1).step_by(2))
}

/// The last cells of all rows of tables whose last column is headed `tests`.
fn last_cells(document: &str) -> impl Iterator<Item = &str> {
    let last = |row: &'_ str| {
        let row = row.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(row.rsplit_once('|').map_or(row.len(), |(before, _)| before.len() + 1))
    };
    let mut in_table = false;
    document.lines().filter_map(move |line| {
        let Some(start) = last(line) else {
            in_table = false;
            return None;
        };
        let row = line.trim();
        let cell = &row[1 + start..row.len() - 1];
        in_table |= cell.trim() == "tests";
        in_table.then_some(cell)
    })
}

/// The targets of a document's links to files, without the place in the file.
fn links(document: &str) -> impl Iterator<Item = &str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let files = targets.filter_map(|(target, _)| target.split('#').next());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The path from the root that a link in `document` means.
fn target(document: &str, link: &str) -> PathBuf {
    let mut path = Path::new(document).parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str) -> Vec<String> {
        let file = |path: &str, content: &str| (path.to_owned(), content.to_owned());
        complaints(&[
            file("docs/a.md", document),
            file("docs/pictures/b.svg", ""),
            file("crates/a/src/lib.rs", "#[test]\nfn events_are_kept() {}\n"),
        ])
    }

    #[test]
    fn a_test_that_exists_may_be_named() {
        let document = "P1. Events are kept.\n\nTests: `events_are_kept`, `tests::events_are_kept`.\n";
        assert_eq!(check(document), [""; 0]);
        assert_eq!(check("A word in backticks, `events_are_lost`, is no test.\n"), [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let complaints = check("P1.\n\nTests: `events_are_kept`,\n`events_are_kept_for_ever`.\n");
        assert_eq!(complaints, ["docs/a.md: no test is called events_are_kept_for_ever"]);
    }

    #[test]
    fn a_table_with_a_column_of_tests_names_tests_there_and_nowhere_else() {
        let rows = "|---|---|\n| `no_test` | `events_are_kept`; simulation: lost |\n";
        assert_eq!(check(&format!("| what | tests |\n{rows}")), [""; 0]);
        let row = "| a fault | `events_are_kept`, `events_are_lost` |\n";
        let complaints = check(&format!("| what | tests |\n{rows}{row}"));
        assert_eq!(complaints, ["docs/a.md: no test is called events_are_lost"]);
        assert_eq!(check(&format!("| what | sees |\n{rows}{row}")), [""; 0]);
        assert_eq!(check(&format!("| what | tests |\n{rows}\n| what | sees |\n{row}")), [""; 0]);
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        for good in [
            "a.md#x",
            "#x",
            "pictures/b.svg",
            "pictures",
            "../crates/a/src/lib.rs",
            "https://kafka.apache.org",
        ] {
            assert_eq!(check(&format!("[x]({good})\n")), [""; 0], "{good}");
        }
        for bad in ["b.md", "pictures/c.svg", "../docs/pict", "../crates/a/lib.rs"] {
            assert_eq!(
                check(&format!("[x]({bad})\n")),
                [format!("docs/a.md: the link to {bad} leads nowhere")]
            );
        }
    }
}
