//! Continuous integration, step by step: everything that must hold before a change is good.
//!
//! Stops at the first step that fails. The broker tests are a step like any other: when they cannot run, or when not one of
//! them ran, the whole fails.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seeds of the simulation: half a minute.
const SIM_SEEDS: &str = "20000";

/// How long faults happen in the short run; a longer one is run by hand.
const CHAOS_SECONDS: u64 = 60;

/// Runs formatting, lints, tidy, the tests README names, rustdoc, the instruction counts, the broker tests and a short run under faults.
#[derive(Debug, clap::Args)]
pub struct CiArgs {
    /// README's test command has just passed: leave it out
    #[arg(long)]
    tests_done: bool,
}

type Step<'a> = (&'a str, Box<dyn FnOnce() -> anyhow::Result<()> + 'a>);

/// Runs every step and prints how long each took.
pub fn run(args: CiArgs) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let metadata = crate::tidy::metadata(root)?;
    let with_broker_tests = crate::integration::packages(&metadata, &[])?;
    let features: Vec<_> = with_broker_tests.iter().map(|name| format!("{name}/integration")).collect();
    let readme = std::fs::read_to_string(root.join("README.md")).context("README.md")?;
    let test = test_command(&readme).context("README.md names no test command")?;
    let cargo = |args: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(args).current_dir(root);
        command
    };

    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    clippy.args(["--features", &features.join(","), "--", "-D", "warnings"]);
    let mut rustdoc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    rustdoc.env("RUSTDOCFLAGS", "-D warnings");
    // README's command tests the default members; whatever else there is, is tested here.
    let mut tool_tests = cargo(&["test", "--locked", "--workspace"]);
    tool_tests.args(tool_targets(&metadata)?);
    let mut tests = Command::new("sh");
    tests.args(["-c", test]).current_dir(root);

    let mut steps: Vec<Step<'_>> = vec![
        ("fmt", Box::new(|| passes(cargo(&["fmt", "--all", "--check"])))),
        ("clippy", Box::new(|| passes(clippy))),
        ("tidy", Box::new(crate::tidy::run)),
    ];
    if !args.tests_done {
        steps.push(("README's test command", Box::new(|| passes(tests))));
    }
    steps.push(("tests of the tools", Box::new(|| runs_tests(tool_tests))));
    steps.push(("rustdoc", Box::new(|| passes(rustdoc))));
    steps.push(("instructions", Box::new(|| crate::bench::instructions::run(root, &[], false))));
    steps.push(("simulation", Box::new(|| crate::sim::simulate(&["--seeds", SIM_SEEDS]))));
    steps.push(("integration", Box::new(|| runs_tests(cargo(&["xtask", "integration"])))));
    steps.push(("chaos", Box::new(|| crate::chaos::run(crate::chaos::ChaosArgs::short(CHAOS_SECONDS)))));
    run_steps(steps)
}

/// The arguments that name the test targets of all members that are not built unless they are asked for. Targets and not packages:
/// packages alone would get dependencies with other features than in the whole workspace, and build them again.
fn tool_targets(metadata: &serde_json::Value) -> anyhow::Result<Vec<&str>> {
    let ids = |field: &str| metadata[field].as_array().into_iter().flatten();
    let is_tool = |id| {
        ids("workspace_members").any(|member| member == id)
            && ids("workspace_default_members").all(|member| member != id)
    };
    let mut args = Vec::new();
    for package in
        metadata["packages"].as_array().into_iter().flatten().filter(|package| is_tool(&package["id"]))
    {
        for target in
            package["targets"].as_array().into_iter().flatten().filter(|target| target["test"] == true)
        {
            let name = target["name"].as_str().context("a target has a name")?;
            match target["kind"][0].as_str() {
                Some("bin") => args.extend(["--bin", name]),
                Some("test") => args.extend(["--test", name]),
                kind => bail!(
                    "{name} is no default member: its {kind:?} cannot be tested here; say `test = false`"
                ),
            }
        }
    }
    Ok(args)
}

fn run_steps(steps: Vec<Step<'_>>) -> anyhow::Result<()> {
    let mut durations = Vec::new();
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        let duration = start.elapsed();
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("== {name}: {verdict} in {}", seconds(duration));
        durations.push((name, duration));
        result.with_context(|| format!("step {name}"))?;
    }
    println!("== all steps passed");
    for (name, duration) in durations {
        println!("{:>10}  {name}", seconds(duration));
    }
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn passes(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// Runs a command that prints what cargo's test runner prints, passes it on, and fails when no test was run.
fn runs_tests(mut command: Command) -> anyhow::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut passed = 0;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        passed += tests_passed(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    if passed == 0 {
        bail!("{command:?} ran no test");
    }
    Ok(())
}

/// How many tests a closing line of cargo's test runner says have passed; 0 for any other line.
fn tests_passed(line: &str) -> u64 {
    let Some(rest) = line.trim_start().strip_prefix("test result: ok. ") else { return 0 };
    rest.split_once(" passed").and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

/// The line of README's shell blocks that runs the tests.
fn test_command(readme: &str) -> Option<&str> {
    let mut in_shell = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            in_shell = line == "```sh";
        } else if in_shell && line.starts_with("cargo test") {
            return Some(line.split(" #").next().unwrap_or(line).trim_end());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<'a>() -> Box<dyn FnOnce() -> anyhow::Result<()> + 'a> {
        Box::new(|| Ok(()))
    }

    #[test]
    fn what_is_not_tested_by_default_is_tested_by_its_targets() {
        let metadata = |kind: &str| {
            let target = |name: &str| serde_json::json!({"name": name, "kind": [kind], "test": true});
            let package = |name: &str| serde_json::json!({"id": name, "targets": [target(name)]});
            serde_json::json!({
                "packages": [package("a"), package("b"), package("elsewhere")],
                "workspace_members": ["a", "b"],
                "workspace_default_members": ["a"],
            })
        };
        assert_eq!(tool_targets(&metadata("bin")).expect("it can be tested"), ["--bin", "b"]);
        assert_eq!(tool_targets(&metadata("test")).expect("it can be tested"), ["--test", "b"]);
        assert!(tool_targets(&metadata("lib")).is_err());
    }

    #[test]
    fn steps_stop_at_the_first_failure() {
        let ran = std::cell::Cell::new(false);
        run_steps(vec![("a", ok()), ("b", ok())]).expect("both pass");
        let steps: Vec<Step<'_>> = vec![
            ("a", ok()),
            ("b", Box::new(|| bail!("no"))),
            (
                "c",
                Box::new(|| {
                    ran.set(true);
                    Ok(())
                }),
            ),
        ];
        let error = run_steps(steps).expect_err("b fails");
        assert_eq!(format!("{error:#}"), "step b: no");
        assert!(!ran.get());
    }

    #[test]
    fn a_run_without_a_test_fails() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        runs_tests(shell("echo 'test result: ok. 3 passed; 0 failed'")).expect("it ran three");
        let nothing = runs_tests(shell("echo skipped; echo 'test result: ok. 0 passed; 0 failed'"));
        assert!(nothing.expect_err("no test").to_string().ends_with("ran no test"));
        runs_tests(shell("echo 'test result: ok. 3 passed; 0 failed'; exit 1"))
            .expect_err("its exit code counts");
    }

    #[test]
    fn the_test_command_is_the_one_in_readme() {
        let readme = "cargo test in prose\n```sh\ncargo run\ncargo test # all of it\n```\n";
        assert_eq!(test_command(readme), Some("cargo test"));
        assert_eq!(test_command("```text\ncargo test\n```\n"), None);
    }

    #[test]
    fn the_script_of_ci_begins_with_readmes_test_command() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
        let script = std::fs::read_to_string(root.join(".ci/run")).expect(".ci/run");
        let command = test_command(&readme).expect("README.md names one");
        let at = |wanted: &str| script.lines().position(|line| line.starts_with(wanted));
        assert!(script.lines().any(|line| line == command), "{command} is not a line of .ci/run");
        assert!(at(command) < at("cargo xtask ci --tests-done"));
    }
}
