//! The teeth of the simulation: bugs planted in a copy of the tree, to see that the simulation finds them.
//!
//! A bug is a patch in `crates/bkes-sim/teeth`, named after it. Before the diff it says in plain words what the bug is, and within how
//! many seeds it must be found. Its branches ask `planted("NAME")`, which `switch.patch` adds, so that all bugs share one build. The
//! copy lies in `target/teeth`: what the working tree holds, committed or not, and only files that have changed are written, so that a
//! build takes up where the last one ended.

mod hunks;

use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the patches lie.
const FOLDER: &str = "crates/bkes-sim/teeth";

/// The patch that the others need.
const SWITCH: &str = "switch";

/// A patch of the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Patch {
    name: String,
    text: String,
}

impl Patch {
    /// What is said before the diff.
    fn preamble(&self) -> &str {
        self.text.find("diff --git ").map_or(&self.text[..], |diff| &self.text[..diff])
    }

    /// Within how many seeds the bug must be found.
    fn seeds_max(&self) -> Option<u64> {
        let (_, rest) = self.preamble().split_once("found within ")?;
        let (number, _) = rest.split_once(" seeds")?;
        number.replace(',', "").parse().ok()
    }
}

/// Looks for every bug, or for the one that `--bug` names; `args` are the options of `cargo xtask sim`.
pub fn run(args: &[&str]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let patches = patches(root)?;
    let (asked, rest) = take_bug(args)?;
    let bugs = patches.iter().filter(|patch| patch.name != SWITCH);
    let bugs: Vec<&Patch> = bugs.filter(|bug| asked.is_none_or(|name| name == bug.name)).collect();
    if bugs.is_empty() {
        bail!("there is no such bug in {FOLDER}: {}", asked.unwrap_or("none at all"));
    }
    let of = |bug: &&Patch| {
        let seeds =
            bug.seeds_max().with_context(|| format!("{} does not say within how many seeds", bug.name))?;
        Ok(format!("{}={seeds}", bug.name))
    };
    let bugs = bugs.iter().map(of).collect::<anyhow::Result<Vec<String>>>()?.join(",");
    let place = std::path::absolute(crate::simulation::target_dir(root).join("teeth"))?;
    let tree = lay_out(root, &patches, &place)?;
    let mut args = vec!["--teeth", &bugs];
    args.extend(rest);
    crate::simulation::build_and_run(&tree, &place.join("build"), &args)
}

/// What `--bug` names, and the options that are left for the simulation.
fn take_bug<'a>(args: &[&'a str]) -> anyhow::Result<(Option<&'a str>, Vec<&'a str>)> {
    let (mut bug, mut rest) = (None, Vec::new());
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--bug") {
            Some("") => bug = Some(args.next().context("--bug is followed by a name")?),
            Some(name) if name.starts_with('=') => bug = Some(&name[1..]),
            _ if arg == "--teeth" => {}
            _ => rest.push(arg),
        }
    }
    Ok((bug, rest))
}

/// Everything that is wrong with the patches: each must apply to the tree alone, and all of them in order.
pub fn complaints(root: &Path, files: &[(String, String)]) -> anyhow::Result<Vec<String>> {
    let patches = patches(root)?;
    let mut complaints: Vec<String> = patches.iter().flat_map(form_complaints).collect();
    for patch in &patches {
        let content = |path: &str| files.iter().find(|(of, _)| of == path).map(|(_, content)| &content[..]);
        complaints.extend(hunks::complaints(&patch.text, content).map(|what| complaint(patch, &what)));
        if let Err(detail) = apply(root, &[patch], true)? {
            complaints.push(complaint(patch, &format!("no longer applies: {detail}")));
        }
    }
    if complaints.is_empty()
        && let Err(detail) = apply(root, &patches.iter().collect::<Vec<_>>(), true)?
    {
        complaints.push(format!("{FOLDER}: the patches do not apply together: {detail}"));
    }
    Ok(complaints)
}

fn complaint(patch: &Patch, what: &str) -> String {
    format!("{FOLDER}/{}.patch: {what}", patch.name)
}

/// What is wrong with a patch by itself.
fn form_complaints(patch: &Patch) -> Vec<String> {
    let is_bug = patch.name != SWITCH;
    let asks = format!("planted(\"{}\")", patch.name);
    let wrong = [
        (patch.preamble().trim().is_empty(), "does not say before the diff what it is".to_owned()),
        (
            is_bug && patch.seeds_max().is_none(),
            "does not say `found within N seeds` before the diff".to_owned(),
        ),
        (is_bug && !patch.text.contains(&asks), format!("has no branch that asks {asks}")),
    ];
    let wrong = wrong.into_iter().filter(|(is_wrong, _)| *is_wrong);
    wrong.map(|(_, what)| complaint(patch, &what)).collect()
}

/// The patches in the order in which they are applied: the switch, and the bugs by name.
fn patches(root: &Path) -> anyhow::Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for entry in std::fs::read_dir(root.join(FOLDER)).context(FOLDER)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let name =
                path.file_stem().and_then(|name| name.to_str()).context("a patch has a name")?.to_owned();
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            patches.push(Patch { name, text });
        }
    }
    patches.sort_by(|one, other| (one.name != SWITCH, &one.name).cmp(&(other.name != SWITCH, &other.name)));
    Ok(patches)
}

/// Copies the tree to `place` and applies the patches there. Says where it lies.
fn lay_out(root: &Path, patches: &[Patch], place: &Path) -> anyhow::Result<PathBuf> {
    let (fresh, tree) = (place.join("fresh"), place.join("tree"));
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    for path in crate::files::paths(root)? {
        // Git also lists what was removed and is not committed.
        if root.join(&path).is_file() {
            copy(&root.join(&path), &fresh.join(&path))?;
        }
    }
    if let Err(detail) = apply(&fresh, &patches.iter().collect::<Vec<_>>(), false)? {
        bail!("the patches of {FOLDER} do not apply: {detail}");
    }
    bring_up_to_date(&fresh, &tree)?;
    std::fs::remove_dir_all(&fresh)?;
    Ok(tree)
}

/// Has git apply patches one after the other to the files in `folder`, or only try. What git says where they do not apply is the inner
/// error.
fn apply(folder: &Path, patches: &[&Patch], is_trial: bool) -> anyhow::Result<Result<(), String>> {
    let mut git = Command::new("git");
    git.arg("apply").args(is_trial.then_some("--check")).arg("-").current_dir(folder);
    // As if there were no repository: in a folder of one git would leave out what it does not find from the root.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder));
    git.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut git = git.spawn().context("git is needed to apply patches")?;
    let mut input = git.stdin.take().context("its input is piped")?;
    let text: String = patches.iter().map(|patch| &patch.text[..]).collect();
    let written = input.write_all(text.as_bytes());
    drop(input);
    let output = git.wait_with_output()?;
    if output.status.success() {
        written?;
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(said.lines().collect::<Vec<_>>().join("; ")))
}

/// Makes `tree` hold the files of `fresh`, and leaves those alone that are the same already.
fn bring_up_to_date(fresh: &Path, tree: &Path) -> anyhow::Result<()> {
    let (wanted, there) = (files_below(fresh)?, files_below(tree)?);
    for path in there.difference(&wanted) {
        std::fs::remove_file(tree.join(path))?;
    }
    for path in &wanted {
        let is_same =
            there.contains(path) && std::fs::read(tree.join(path))? == std::fs::read(fresh.join(path))?;
        if !is_same {
            copy(&fresh.join(path), &tree.join(path))?;
        }
    }
    Ok(())
}

/// The paths of all files below a folder, from there.
fn files_below(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        if !next.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::copy(from, to))
        .with_context(|| to.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str =
        "diff --git a/a.rs b/a.rs\n--- a/a.rs\n+++ b/a.rs\n@@ -1,2 +1,3 @@\n one\n+planted(\"b\");\n two\n";

    fn patch(name: &str, text: String) -> Patch {
        Patch { name: name.into(), text }
    }

    /// A folder of its own for a test, with a file.
    fn folder(test: &str, content: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("bkes-teeth-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("a.rs"), content).expect("a file");
        folder
    }

    #[test]
    fn a_patch_says_what_it_is_and_what_it_takes_to_find_it() {
        let good = patch("b", format!("Odd.\nTo be found within 2,000 seeds.\n\n{DIFF}"));
        assert_eq!(form_complaints(&good), [""; 0]);
        assert_eq!(good.seeds_max(), Some(2_000));
        assert_eq!(form_complaints(&patch("b", DIFF.into())).len(), 2, "nothing is said");
        assert_eq!(form_complaints(&patch("c", good.text.clone())).len(), 1, "it asks for another bug");
        assert_eq!(form_complaints(&patch(SWITCH, format!("How.\n{DIFF}"))), [""; 0]);
    }

    #[test]
    fn the_bug_that_is_asked_for_is_taken_out_of_the_options() {
        for args in [vec!["--teeth", "--bug", "b", "--seed", "7"], vec!["--teeth", "--seed", "7", "--bug=b"]]
        {
            assert_eq!(take_bug(&args).expect("it has a name"), (Some("b"), vec!["--seed", "7"]));
        }
        assert_eq!(take_bug(&["--teeth"]).expect("none"), (None, vec![]));
        assert!(take_bug(&["--teeth", "--bug"]).is_err());
    }

    #[test]
    fn a_patch_that_does_not_apply_is_found() {
        let folder = folder("apply", "one\ntwo\n");
        let one = patch("b", DIFF.into());
        assert_eq!(apply(&folder, &[&one], true).expect("git runs"), Ok(()));
        let twice = apply(&folder, &[&one, &one], true).expect("git runs");
        assert!(twice.is_err(), "its lines are no longer next to each other");
        apply(&folder, &[&one], false).expect("git runs").expect("it applies");
        let content = std::fs::read_to_string(folder.join("a.rs")).expect("it is there");
        assert_eq!(content, "one\nplanted(\"b\");\ntwo\n");
        assert!(apply(&folder, &[&one], true).expect("git runs").is_err());
        std::fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn only_files_that_differ_are_written() {
        let (fresh, tree) = (folder("fresh", "new\n"), folder("tree", "old\n"));
        for (file, of) in [("same.rs", &fresh), ("same.rs", &tree), ("gone.rs", &tree)] {
            std::fs::write(of.join(file), "same\n").expect("a file");
        }
        let written =
            |file: &str| std::fs::metadata(tree.join(file)).and_then(|of| of.modified()).expect("a time");
        let before = written("same.rs");
        std::fs::create_dir(fresh.join("b")).expect("a folder");
        std::fs::write(fresh.join("b/c.rs"), "new\n").expect("a file");
        bring_up_to_date(&fresh, &tree).expect("both can be read");
        assert_eq!(written("same.rs"), before);
        assert_eq!(files_below(&tree).expect("it is there"), files_below(&fresh).expect("it is there"));
        assert_eq!(std::fs::read_to_string(tree.join("a.rs")).expect("it is there"), "new\n");
        for folder in [fresh, tree] {
            std::fs::remove_dir_all(folder).expect("it is there");
        }
    }
}
