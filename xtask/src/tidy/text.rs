//! What every text file, and every Rust file, must look like.

/// A Rust file may have this many lines, its unit tests not counted. The aim is 400.
const LINES_MAX: usize = 500;

/// Beginnings of paths that exist on somebody's machine only. Written in two parts, or this file would complain of itself.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\"),
];

/// Everything that is wrong with a file.
pub fn complaints(path: &str, content: &str) -> Vec<String> {
    if is_generated(path, content) || path == "Cargo.lock" {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in content.split('\n').enumerate() {
        let mut complain = |what: &str| complaints.push(format!("{path}:{}: {what}", number + 1));
        // A blank line around a change of a patch is one blank.
        let is_of_patch = path.ends_with(".patch") && line == " ";
        if line.ends_with([' ', '\t', '\r']) && !is_of_patch {
            complain("blank at the end of the line");
        }
        if line.contains('\t') {
            complain("tab");
        }
        if MACHINE_PATHS.iter().any(|machine| names_path(line, machine)) {
            complain("path of one machine");
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        complaints.push(format!("{path}: no newline at the end"));
    }
    if path.ends_with(".rs") {
        if !content.starts_with("//!") {
            complaints.push(format!(
                "{path}:1: does not open with `//!`: what it is, its invariants, what it does not know"
            ));
        }
        let lines = lines_without_tests(content);
        if lines > LINES_MAX && !is_test(path) {
            complaints
                .push(format!("{path}: {lines} lines, {LINES_MAX} are the most: split it by noun or verb"));
        }
    }
    complaints
}

/// Generated code says so in its first lines, or by the folder it lies in.
pub fn is_generated(path: &str, content: &str) -> bool {
    path.split('/').any(|part| part == "generated")
        || content.lines().take(3).any(|line| line.contains("@generated"))
}

/// Whether a file is of tests, by its path.
pub fn is_test(path: &str) -> bool {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.split('/').any(|part| matches!(part, "tests" | "conformance") || part.ends_with("_tests"))
}

/// Lines up to the unit tests at the end of the file.
pub fn lines_without_tests(content: &str) -> usize {
    let is_start =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    let lines: Vec<&str> = content.lines().collect();
    lines.windows(2).position(is_start).unwrap_or(lines.len())
}

/// Whether `line` has `beginning` where a path begins, not in the middle of a longer one.
fn names_path(line: &str, beginning: &str) -> bool {
    line.match_indices(beginning).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || "._-~/}$".contains(char))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The complaints about a file without its path.
    fn check(path: &str, content: &str) -> Vec<String> {
        complaints(path, content)
            .iter()
            .map(|line| line.strip_prefix(path).expect("path").to_owned())
            .collect()
    }

    #[test]
    fn a_file_in_order_has_no_complaints() {
        assert_eq!(check("crates/a/src/lib.rs", "//! A crate.\n\nfn f() {}\n"), [""; 0]);
        assert_eq!(check("README.md", "# Name\n"), [""; 0]);
    }

    #[test]
    fn blanks_at_the_end_and_tabs_are_found() {
        assert_eq!(check("a.md", "x \n"), [":1: blank at the end of the line"]);
        assert_eq!(check("a.md", "ok\na\tb\n"), [":2: tab"]);
        assert_eq!(check("a.md", "x\r\n"), [":1: blank at the end of the line"]);
        assert_eq!(check("a.md", "x"), [": no newline at the end"]);
        assert_eq!(check("a.patch", " x\n \n"), [""; 0]);
        assert_eq!(check("a.patch", "+ \n"), [":1: blank at the end of the line"]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_longer_path_is_not() {
        for machine in MACHINE_PATHS {
            assert_eq!(check("a.sh", &format!("cd {machine}x\n")), [":1: path of one machine"], "{machine}");
        }
        let longer = format!("see docs{}x\n", MACHINE_PATHS[2]);
        assert_eq!(check("a.md", &longer), [""; 0]);
    }

    #[test]
    fn a_rust_file_that_does_not_say_what_it_is_is_found() {
        let complaints = check("a.rs", "fn f() {}\n");
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with(":1: does not open with"), "{complaints:?}");
    }

    #[test]
    fn a_long_file_is_found_but_its_tests_do_not_count() {
        let long = format!("//! x\n{}", "fn f() {}\n".repeat(LINES_MAX));
        assert_eq!(check("a.rs", &long), [": 501 lines, 500 are the most: split it by noun or verb"]);
        assert_eq!(check("crates/a/tests/b.rs", &long), [""; 0]);
        assert_eq!(check("crates/a/src/b/tests.rs", &long), [""; 0]);
        let tests = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(LINES_MAX));
        assert_eq!(check("a.rs", &tests), [""; 0]);
    }

    #[test]
    fn generated_code_is_exempt() {
        let untidy = "fn f() {} \n";
        assert!(!check("a.rs", untidy).is_empty());
        assert_eq!(check("crates/a/src/generated/a.rs", untidy), [""; 0]);
        assert_eq!(check("a.rs", &format!("// @generated\n{untidy}")), [""; 0]);
    }
}
