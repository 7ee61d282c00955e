//! Which crate may know which: the arrows of docs/architecture.md, the owner of each outside library, and where unsafe code
//! may stand.

use anyhow::{Context, bail};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A crate of the workspace, the crates it may know, and those it may know in its tests and examples beside them.
struct Arrows {
    name: &'static str,
    knows: &'static [&'static str],
    in_tests: &'static [&'static str],
}

const ARROWS: &[Arrows] = &[
    Arrows { name: "bkes-core", knows: &[], in_tests: &[] },
    Arrows { name: "bkes-api", knows: &["bkes-core"], in_tests: &[] },
    Arrows { name: "bkes-consumer", knows: &["bkes-core", "bkes-log"], in_tests: &["bkes-testkit"] },
    Arrows {
        name: "bkes-audit",
        knows: &["bkes-api", "bkes-consumer", "bkes-core", "bkes-log"],
        in_tests: &["bkes-embedded", "bkes-testkit"],
    },
    Arrows { name: "bkes-storage", knows: &["bkes-core"], in_tests: &["bkes-testkit"] },
    Arrows { name: "bkes-log", knows: &["bkes-core"], in_tests: &[] },
    Arrows { name: "bkes-kafka", knows: &["bkes-core", "bkes-log"], in_tests: &[] },
    Arrows { name: "bkes-embedded", knows: &["bkes-core", "bkes-log"], in_tests: &["bkes-testkit"] },
    Arrows {
        name: "bkes-engine",
        knows: &["bkes-api", "bkes-core", "bkes-storage", "bkes-log"],
        in_tests: &["bkes-embedded", "bkes-kafka", "bkes-testkit"],
    },
    Arrows { name: "bkes-wire", knows: &["bkes-api", "bkes-core"], in_tests: &["bkes-testkit"] },
    Arrows {
        name: "bkes-grpc",
        knows: &["bkes-api", "bkes-core", "bkes-engine", "bkes-wire"],
        in_tests: &["bkes-client", "bkes-storage", "bkes-log", "bkes-embedded", "bkes-kafka", "bkes-testkit"],
    },
    Arrows { name: "bkes-admin", knows: &["bkes-engine"], in_tests: &["bkes-core", "bkes-testkit"] },
    Arrows { name: "bkes-client", knows: &["bkes-api", "bkes-core", "bkes-wire"], in_tests: &[] },
    Arrows {
        name: "bkes-server",
        knows: &[
            "bkes-core",
            "bkes-storage",
            "bkes-log",
            "bkes-kafka",
            "bkes-embedded",
            "bkes-engine",
            "bkes-grpc",
            "bkes-admin",
        ],
        in_tests: &["bkes-api", "bkes-client", "bkes-foreign"],
    },
    Arrows {
        name: "bkes",
        knows: &[
            "bkes-api",
            "bkes-audit",
            "bkes-client",
            "bkes-consumer",
            "bkes-core",
            "bkes-kafka",
            "bkes-log",
        ],
        in_tests: &["bkes-engine", "bkes-foreign", "bkes-grpc", "bkes-storage"],
    },
    Arrows { name: "bkes-testkit", knows: &["bkes-core", "bkes-storage", "bkes-log"], in_tests: &[] },
    Arrows { name: "bkes-foreign", knows: &[], in_tests: &[] },
    Arrows { name: "bkes-check", knows: &["bkes-core"], in_tests: &[] },
    Arrows {
        name: "bkes-bench",
        knows: &[
            "bkes-core",
            "bkes-api",
            "bkes-storage",
            "bkes-log",
            "bkes-kafka",
            "bkes-embedded",
            "bkes-engine",
            "bkes-wire",
            "bkes-client",
            "bkes-grpc",
            "bkes-foreign",
        ],
        in_tests: &[],
    },
    Arrows {
        name: "bkes-sim",
        knows: &[
            "bkes-api",
            "bkes-check",
            "bkes-core",
            "bkes-engine",
            "bkes-log",
            "bkes-storage",
            "bkes-testkit",
        ],
        in_tests: &[],
    },
    Arrows {
        name: "bkes-chaos",
        knows: &[
            "bkes-core",
            "bkes-api",
            "bkes-client",
            "bkes-storage",
            "bkes-kafka",
            "bkes-engine",
            "bkes-grpc",
            "bkes-foreign",
            "bkes-check",
        ],
        in_tests: &[],
    },
    Arrows {
        name: "bkes-instructions",
        knows: &["bkes-core", "bkes-storage", "bkes-log", "bkes-engine", "bkes-api", "bkes-wire"],
        in_tests: &[],
    },
    Arrows { name: "xtask", knows: &[], in_tests: &[] },
];

/// A family of outside libraries, by the beginning of its names, and the crates that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("rdkafka", &["bkes-kafka"]),
    ("libc", &["bkes-kafka"]),
    ("redb", &["bkes-storage"]),
    ("tonic", &["bkes-wire", "bkes-grpc", "bkes-client", "xtask"]),
    ("prost", &["bkes-wire", "bkes-grpc", "bkes-client", "bkes-instructions", "xtask"]),
    ("clap", &["bkes", "bkes-server", "xtask"]),
    ("clap_complete", &["bkes"]),
    ("clap_mangen", &["bkes"]),
    ("indicatif", &["bkes"]),
    ("axum", &["bkes-admin"]),
    ("hyper", &["bkes-admin"]),
];

/// Libraries that crates of the product name in their tests only: the product draws nothing that a seed could repeat.
const FOR_TESTS: &[&str] = &["fastrand", "proptest", "tempfile"];

/// Crates beside the product: what others do to a topic, and what the libraries can do without us. They name any library.
const BESIDE: &[&str] = &["bkes-foreign", "bkes-bench", "bkes-chaos", "bkes-sim"];

/// Crates beside the product whose libraries have owners all the same.
const TOOLS: &[&str] = &["bkes-instructions", "bkes-testkit", "xtask"];

/// The crates that talk to a C library: the product's, the one that measures what that library can do without us, and the one
/// that administers rights with it. They deny unsafe code instead of forbidding it, and allow it in one place each.
const UNSAFE_OWNERS: &[&str] = &["bkes-kafka", "bkes-bench", "bkes-foreign"];

/// What the checks need to know of a package.
#[derive(Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Whether it is one of ours.
    pub is_member: bool,
    /// The licence expression it names.
    pub license: Option<String>,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// The root file of each library and binary.
    pub roots: Vec<String>,
}

/// One line of a package's dependencies.
#[derive(Debug, Default)]
pub struct Dependency {
    /// The package it names.
    pub name: String,
    /// Whether only tests and examples have it.
    pub in_tests: bool,
}

/// What cargo knows of the workspace, with every feature on.
pub fn metadata(root: &Path) -> anyhow::Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--all-features", "--locked"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The packages of `cargo metadata`.
pub fn packages(metadata: &Value) -> anyhow::Result<Vec<Package>> {
    let members = metadata["workspace_members"].as_array().context("workspace_members")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    packages.iter().map(|package| read_package(package, members)).collect()
}

fn read_package(package: &Value, members: &[Value]) -> anyhow::Result<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let is_root = |target: &&Value| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        kinds.filter_map(Value::as_str).any(|kind| matches!(kind, "lib" | "bin" | "proc-macro"))
    };
    let dependencies = package["dependencies"].as_array().context("dependencies")?;
    let targets = package["targets"].as_array().context("targets")?;
    Ok(Package {
        name: text(&package["name"]).context("a package has a name")?,
        is_member: members.contains(&package["id"]),
        license: text(&package["license"]),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: text(&dependency["name"]).unwrap_or_default(),
                in_tests: dependency["kind"] == "dev",
            })
            .collect(),
        roots: targets.iter().filter(is_root).filter_map(|target| text(&target["src_path"])).collect(),
    })
}

/// Crates of the workspace that know one they must not know.
pub fn arrow_complaints(packages: &[Package]) -> Vec<String> {
    let members: Vec<&Package> = packages.iter().filter(|package| package.is_member).collect();
    let is_member = |name: &str| members.iter().any(|package| package.name == name);
    let mut complaints = Vec::new();
    for package in &members {
        let name = &package.name;
        let Some(arrows) = ARROWS.iter().find(|arrows| arrows.name == *name) else {
            complaints.push(format!("{name}: has no line in ARROWS of xtask/src/tidy/crates.rs"));
            continue;
        };
        for Dependency { name: other, in_tests } in package.dependencies.iter().filter(|d| is_member(&d.name))
        {
            let other = other.as_str();
            let may = arrows.knows.contains(&other) || (*in_tests && arrows.in_tests.contains(&other));
            if !may {
                complaints.push(format!("{name}: must not know {other}"));
            }
        }
    }
    complaints
}

/// Crates of the workspace that name an outside library of another owner.
pub fn owner_complaints(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Package { name, dependencies, .. } in packages.iter().filter(|package| package.is_member) {
        for Dependency { name: library, in_tests } in dependencies {
            let of_family = |family: &str| {
                library.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            let owners = OWNERS.iter().find(|(family, _)| of_family(family)).map(|(_, owners)| *owners);
            let is_beside = BESIDE.contains(&name.as_str());
            let is_product = !is_beside && !TOOLS.contains(&name.as_str());
            if is_product && !in_tests && FOR_TESTS.contains(&library.as_str()) {
                complaints.push(format!("{name}: {library} is for tests"));
            }
            if !is_beside && owners.is_some_and(|owners| !owners.contains(&name.as_str())) {
                complaints.push(format!(
                    "{name}: {library} belongs to {}",
                    owners.unwrap_or_default().join(" and ")
                ));
            }
        }
    }
    complaints
}

/// Roots that do not forbid unsafe code, and more than one place that allows it.
pub fn unsafe_complaints(package: &Package, root: &Path, files: &[(String, String)]) -> Vec<String> {
    let level = if UNSAFE_OWNERS.contains(&package.name.as_str()) { "deny" } else { "forbid" };
    let attribute = format!("#![{level}(unsafe_code)]");
    let mut complaints = Vec::new();
    for path in &package.roots {
        let path = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path));
        let content =
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, content)| content.as_str());
        if !content.unwrap_or_default().lines().any(|line| line == attribute) {
            complaints.push(format!("{}: {attribute} is missing", path.display()));
        }
    }
    let folder = format!("crates/{}/", package.name);
    let allowing = |content: &str| content.matches(concat!("allow(", "unsafe_code)")).count();
    let allowed: usize = files
        .iter()
        .filter(|(path, _)| path.starts_with(&folder) && path.ends_with(".rs"))
        .map(|(_, content)| allowing(content))
        .sum();
    if allowed > 1 {
        complaints
            .push(format!("{}: unsafe code is allowed in {allowed} places, one is the most", package.name));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency =
            |(name, in_tests): &(&str, bool)| Dependency { name: (*name).into(), in_tests: *in_tests };
        Package {
            name: name.into(),
            is_member: true,
            license: None,
            dependencies: dependencies.iter().map(dependency).collect(),
            roots: vec![format!("/src/crates/{name}/src/lib.rs")],
        }
    }

    #[test]
    fn an_arrow_against_the_layers_is_found() {
        let packages = |engine: &[(&str, bool)]| {
            [
                member("bkes-core", &[]),
                member("bkes-kafka", &[]),
                member("bkes-grpc", &[]),
                member("bkes-engine", engine),
            ]
        };
        assert_eq!(arrow_complaints(&packages(&[("bkes-core", false), ("bytes", false)])), [""; 0]);
        assert_eq!(arrow_complaints(&packages(&[("bkes-kafka", true)])), [""; 0]);
        assert_eq!(
            arrow_complaints(&packages(&[("bkes-kafka", false)])),
            ["bkes-engine: must not know bkes-kafka"]
        );
        assert_eq!(
            arrow_complaints(&packages(&[("bkes-grpc", true)])),
            ["bkes-engine: must not know bkes-grpc"]
        );
    }

    #[test]
    fn a_crate_without_arrows_is_found() {
        let complaints = arrow_complaints(&[member("bkes-new", &[])]);
        assert_eq!(complaints, ["bkes-new: has no line in ARROWS of xtask/src/tidy/crates.rs"]);
    }

    #[test]
    fn an_outside_library_in_a_second_crate_is_found() {
        let table = [
            ("bkes-kafka", "rdkafka-sys", None),
            ("bkes-engine", "rdkafka", Some("bkes-engine: rdkafka belongs to bkes-kafka")),
            ("bkes-embedded", "redb", Some("bkes-embedded: redb belongs to bkes-storage")),
            (
                "bkes-server",
                "tonic-health",
                Some(
                    "bkes-server: tonic-health belongs to bkes-wire and bkes-grpc and bkes-client and xtask",
                ),
            ),
            ("bkes-core", "prosthetic", None),
            ("bkes-engine", "clap", Some("bkes-engine: clap belongs to bkes and bkes-server and xtask")),
        ];
        for (name, library, expected) in table {
            for in_tests in [false, true] {
                let complaints = owner_complaints(&[member(name, &[(library, in_tests)])]);
                assert_eq!(complaints.first().map(String::as_str), expected, "{name} {library}");
            }
        }
    }

    #[test]
    fn a_library_for_tests_in_the_product_is_found() {
        let complaints = |name: &str, in_tests| owner_complaints(&[member(name, &[("fastrand", in_tests)])]);
        assert_eq!(complaints("bkes-log", false), ["bkes-log: fastrand is for tests"]);
        for (name, in_tests) in [("bkes-log", true), ("bkes-testkit", false), ("bkes-sim", false)] {
            assert_eq!(complaints(name, in_tests), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_root_that_does_not_forbid_unsafe_code_is_found() {
        let check = |name: &str, content: &str| {
            let files = [(format!("crates/{name}/src/lib.rs"), content.to_owned())];
            unsafe_complaints(&member(name, &[]), Path::new("/src"), &files)
        };
        assert_eq!(check("bkes-core", "//! x\n#![forbid(unsafe_code)]\n"), [""; 0]);
        let missing = ["crates/bkes-core/src/lib.rs: #![forbid(unsafe_code)] is missing"];
        assert_eq!(check("bkes-core", "//! x\n"), missing);
        assert_eq!(check("bkes-core", "//! x\n#![deny(unsafe_code)]\n"), missing);
        assert_eq!(
            check("bkes-kafka", "//! x\n#![deny(unsafe_code)]\n#[allow(unsafe_code)]\nmod sys;\n"),
            [""; 0]
        );
        let twice = format!("#![deny(unsafe_code)]\n{}", concat!("#[allow(", "unsafe_code)]\n").repeat(2));
        assert_eq!(
            check("bkes-kafka", &twice),
            ["bkes-kafka: unsafe code is allowed in 2 places, one is the most"]
        );
    }

    #[test]
    fn packages_are_read_from_what_cargo_prints() {
        let metadata = serde_json::json!({
            "workspace_members": ["id-a"],
            "packages": [{
                "name": "a", "id": "id-a", "license": "MIT",
                "dependencies": [{"name": "b", "kind": "dev"}, {"name": "c", "kind": null}],
                "targets": [
                    {"kind": ["lib"], "src_path": "/src/lib.rs"},
                    {"kind": ["example"], "src_path": "/examples/e.rs"},
                ],
            }],
        });
        let packages = packages(&metadata).expect("it is complete");
        let [package] = &packages[..] else { panic!("one package") };
        assert!(package.is_member);
        assert_eq!(package.license.as_deref(), Some("MIT"));
        assert_eq!(package.roots, ["/src/lib.rs"]);
        let dependencies: Vec<_> =
            package.dependencies.iter().map(|d| (d.name.as_str(), d.in_tests)).collect();
        assert_eq!(dependencies, [("b", true), ("c", false)]);
    }
}
