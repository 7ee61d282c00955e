//! The server of another revision: checked out beside this one, built into a target directory of its own.
//!
//! Both stay under `target/baseline`, so that the next comparison builds only what has changed.

use super::{succeeds, target};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds it; where it lies.
pub fn server(root: &Path, revision: &str) -> anyhow::Result<PathBuf> {
    let folder = target(root).join("baseline");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let tree = folder.join("tree");
    let git = |arguments: &[&str], place: &Path| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(place);
        command
    };
    let commit = commit_of(root, revision)?;
    if tree.join(".git").exists() {
        succeeds(git(&["checkout", "--quiet", "--detach", "--force", &commit], &tree))?;
    } else {
        // A tree whose folder was removed by hand is still known to git.
        succeeds(git(&["worktree", "prune"], root))?;
        let mut add = git(&["worktree", "add", "--quiet", "--detach", "--force"], root);
        add.arg(&tree).arg(&commit);
        succeeds(add)?;
    }
    let built = folder.join("target");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "-p", "bkes-server"]).current_dir(&tree);
    build.env("CARGO_TARGET_DIR", &built);
    succeeds(build).with_context(|| format!("the server of {revision}"))?;
    Ok(built.join("release/bkes-server"))
}

/// The commit that a revision means here.
fn commit_of(root: &Path, revision: &str) -> anyhow::Result<String> {
    let wanted = format!("{revision}^{{commit}}");
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
        .current_dir(root)
        .output()?;
    anyhow::ensure!(output.status.success(), "{revision} is not a revision");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_means_a_commit() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let head = commit_of(&root, "HEAD").expect("there is one");
        assert!(head.len() >= 40 && head.bytes().all(|byte| byte.is_ascii_hexdigit()), "{head}");
        assert_eq!(commit_of(&root, &head[..12]).expect("it is short"), head);
        let error = commit_of(&root, "no-such-revision").expect_err("there is none");
        assert_eq!(error.to_string(), "no-such-revision is not a revision");
        commit_of(&root, "--all").expect_err("an option is no revision");
    }
}
