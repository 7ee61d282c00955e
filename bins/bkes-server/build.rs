//! Tells the program which commit it was built from, when git knows; and the linker to put bkes-kafka in the way of an assertion of
//! librdkafka (`bkes_kafka::LINK_ARGUMENT`).

use std::process::Command;

fn main() {
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let commit = described.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let commit =
        commit.map_or_else(|| "unknown".into(), |text| String::from_utf8_lossy(&text).trim().to_owned());
    println!("cargo::rustc-env=BKES_COMMIT={commit}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--wrap=rd_slice_narrow_copy_relative");
    }
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=../../.git/index");
}
