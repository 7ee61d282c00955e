//! `cargo xtask codegen`: Rust from `proto/`, in pure Rust, so that nobody needs protoc.
//!
//! What it writes is committed (crates/bkes-grpc/src/generated): the code, and the descriptor set that server reflection
//! serves, comments included. The test below fails when the two do not follow from `proto/` any more.

use anyhow::{Context, Result, ensure};
use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of the contract, seen from `proto/`.
const PROTO_FILES: [&str; 1] = ["api.proto"];

/// The one file of the generated code, named for the package.
const CODE: &str = "tech.gklijs.bkes.api.rs";

/// The descriptor set.
const DESCRIPTOR: &str = "descriptor.bin";

/// Writes the generated files, and says which changed.
pub fn run() -> Result<()> {
    let target = generated();
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    for (name, content) in generate()? {
        let path = target.join(name);
        let current = fs::read(&path).is_ok_and(|there| there == content);
        if !current {
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("{name}: {}", if current { "current" } else { "written" });
    }
    Ok(())
}

/// The generated files as they should be: name and content.
fn generate() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let set = protox::Compiler::new([root().join("proto")])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(PROTO_FILES)?
        .file_descriptor_set();
    let descriptor = set.encode_to_vec();

    let out = tempdir()?;
    let written = tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(&out)
        .compile_fds(set)
        .context("the contract does not compile to Rust")
        .and_then(|()| {
            let names: Vec<_> =
                fs::read_dir(&out)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
            ensure!(
                names == [CODE],
                "{CODE} was to be generated, not {names:?}: a new package needs a line here"
            );
            Ok(fs::read(out.join(CODE))?)
        });
    fs::remove_dir_all(&out)?;
    Ok(vec![(CODE, written?), (DESCRIPTOR, descriptor)])
}

/// A new empty directory for the generator's output.
fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("bkes-codegen-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn generated() -> PathBuf {
    root().join("crates/bkes-grpc/src/generated")
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace").to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_follows_from_the_contract() {
        for (name, content) in generate().expect("the contract compiles") {
            let committed = fs::read(generated().join(name)).unwrap_or_default();
            assert!(
                committed == content,
                "{name} is stale: run `cargo xtask codegen` and commit what it writes"
            );
        }
    }
}
