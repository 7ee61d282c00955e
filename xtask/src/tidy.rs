//! Tidy: the rules of the house that neither the compiler nor clippy checks.
//!
//! Each check is a pure function from what it looks at to a list of complaints, so that its tests can show it fail. This file
//! only gathers what they look at: the files that git knows or would add, and what `cargo metadata` says of the crates.
//! That there is no `unwrap()` outside tests is clippy's part.

mod circles;
mod crates;
mod documents;
mod licences;
mod text;

pub use crates::metadata;

use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// Runs every check and prints every complaint; an error when there is one.
pub fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let files = files(root)?;
    let metadata = crates::metadata(root)?;
    let mut complaints = Vec::new();
    for (path, content) in &files {
        complaints.extend(text::complaints(path, content));
    }
    let packages = crates::packages(&metadata)?;
    complaints.extend(crates::arrow_complaints(&packages));
    complaints.extend(crates::owner_complaints(&packages));
    for package in packages.iter().filter(|package| package.is_member) {
        complaints.extend(crates::unsafe_complaints(package, root, &files));
    }
    for package in &packages {
        complaints.extend(licences::complaint(&package.name, package.license.as_deref()));
    }
    complaints.extend(circles::complaints(&files));
    complaints.extend(documents::complaints(&files));
    complaints.extend(crate::teeth::complaints(root, &files)?);
    if !Command::new("cargo")
        .args(["fmt", "--all", "--check", "--", "-l"])
        .current_dir(root)
        .status()?
        .success()
    {
        complaints.push("cargo fmt --check finds differences in the files above: run `cargo fmt`".into());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => {
            println!("tidy: {} files and {} packages are in order", files.len(), packages.len());
            Ok(())
        }
        count => bail!("tidy: {count} complaints"),
    }
}

/// Every text file of the working tree. What is not UTF-8 is no text.
fn files(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for path in crate::files::paths(root)? {
        let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
        if let Ok(content) = String::from_utf8(bytes) {
            files.push((path, content));
        }
    }
    Ok(files)
}
