//! `cargo xtask codegen`: Rust from `proto/`, in pure Rust, so that nobody needs protoc.
//!
//! What it writes is committed (crates/bkes-wire/src/generated): the code, and the descriptor sets that
//! server reflection serves, comments included. The test below fails when the two do not follow from `proto/` any more.

use anyhow::{Context, Result, ensure};
use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};

/// The codec of generated clients and servers.
const CODEC: &str = "crate::codec::BoundedCodec";

/// A contract: its file in `proto/`, and its package.
struct Contract {
    file: &'static str,
    package: &'static str,
}

const CONTRACTS: [Contract; 2] = [
    Contract { file: "api.proto", package: "tech.gklijs.bkes.api" },
    Contract { file: "bkes/v2/event_store.proto", package: "bkes.v2" },
];

/// Writes the generated files, and says which changed.
pub fn run() -> Result<()> {
    let target = generated();
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    for (name, content) in generate()? {
        let path = target.join(&name);
        let current = fs::read(&path).is_ok_and(|there| there == content);
        if !current {
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("{name}: {}", if current { "current" } else { "written" });
    }
    Ok(())
}

/// The generated files as they should be: name and content.
fn generate() -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for contract in &CONTRACTS {
        files.extend(of_contract(contract)?);
    }
    Ok(files)
}

/// The code and the descriptor set of a contract, named for its package.
fn of_contract(contract: &Contract) -> Result<[(String, Vec<u8>); 2]> {
    let set = protox::Compiler::new([root().join("proto")])?
        .include_source_info(true)
        .include_imports(true)
        .open_files([contract.file])?
        .file_descriptor_set();
    let descriptor = set.encode_to_vec();

    let code = format!("{}.rs", contract.package);
    let out = tempdir()?;
    let builder = tonic_prost_build::configure()
        .bytes(".")
        .codec_path(CODEC)
        .emit_rerun_if_changed(false)
        .out_dir(&out);
    let written = builder.compile_fds(set).context("the contract does not compile to Rust").and_then(|()| {
        let names: Vec<_> = fs::read_dir(&out)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        ensure!(
            names == [code.as_str()],
            "{code} was to be generated, not {names:?}: a new package needs a line in CONTRACTS"
        );
        Ok(fs::read(out.join(&code))?)
    });
    fs::remove_dir_all(&out)?;
    Ok([(code, written?), (format!("{}.bin", contract.package), descriptor)])
}

/// A new empty directory for the generator's output.
fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("bkes-codegen-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn generated() -> PathBuf {
    root().join("crates/bkes-wire/src/generated")
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
            let committed = fs::read(generated().join(&name)).unwrap_or_default();
            assert!(
                committed == content,
                "{name} is stale: run `cargo xtask codegen` and commit what it writes"
            );
        }
    }
}
