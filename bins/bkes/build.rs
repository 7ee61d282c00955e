//! Tells the linker to put bkes-kafka in the way of an assertion of librdkafka (`bkes_kafka::LINK_ARGUMENT`), where that is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if is_linux && std::env::var_os("CARGO_FEATURE_KAFKA").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,--wrap=rd_slice_narrow_copy_relative");
    }
}
