//! The places that a patch changes: each must be there once, or git would choose one by its line number.

/// What is wrong with the places of a patch; `content` is what the file at a path holds.
pub fn complaints<'a>(
    patch: &'a str,
    content: impl Fn(&str) -> Option<&'a str>,
) -> impl Iterator<Item = String> {
    let places = places(patch).into_iter();
    places.filter_map(move |Place { path, lines }| {
        let there = content(path)?;
        match count(there, &lines) {
            0 | 1 => None,
            times => {
                Some(format!("{path} has the lines around a change {times} times: `{}`", lines.join("`, `")))
            }
        }
    })
}

/// Lines that a patch finds in a file.
#[derive(PartialEq, Eq, Debug)]
struct Place<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
}

/// The lines of each hunk as they were before it, where there are any.
fn places(patch: &str) -> Vec<Place<'_>> {
    let (mut path, mut places) = (None, Vec::new());
    for line in patch.lines() {
        if line.starts_with("diff --git ") {
            path = None;
        } else if let Some(of) = line.strip_prefix("--- ") {
            path = of.strip_prefix("a/");
        } else if line.starts_with("@@ ") {
            places.extend(path.map(|path| Place { path, lines: Vec::new() }));
        } else if let (Some(_), Some(place)) = (path, places.last_mut()) {
            match line.chars().next() {
                Some(' ' | '-') => place.lines.push(&line[1..]),
                // Blanks at the end of a line may have been taken away.
                None => place.lines.push(""),
                _ => {}
            }
        }
    }
    places
}

/// How often these lines follow each other in a text.
fn count(text: &str, lines: &[&str]) -> usize {
    let all: Vec<&str> = text.lines().collect();
    if lines.is_empty() { 0 } else { all.windows(lines.len()).filter(|window| window == &lines).count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str =
        "Words.\n\ndiff --git a/a.rs b/a.rs\n--- a/a.rs\n+++ b/a.rs\n@@ -1,3 +1,3 @@\n one\n\n-two\n+three\n";

    fn check(content: &str) -> Vec<String> {
        complaints(PATCH, |path| (path == "a.rs").then_some(content)).collect()
    }

    #[test]
    fn a_place_that_is_there_twice_is_found() {
        assert_eq!(check("one\n\ntwo\n"), [""; 0]);
        assert_eq!(check("one\n\ntwo\none\n\nthree\n"), [""; 0]);
        assert_eq!(check("one\n\ntwo\none\n\ntwo\n").len(), 1);
    }

    #[test]
    fn a_new_file_has_no_place() {
        let new =
            "diff --git a/b.rs b/b.rs\nnew file mode 100644\n--- /dev/null\n+++ b/b.rs\n@@ -0,0 +1 @@\n+x\n";
        assert_eq!(places(new), []);
        assert_eq!(places(PATCH), [Place { path: "a.rs", lines: vec!["one", "", "two"] }]);
    }
}
