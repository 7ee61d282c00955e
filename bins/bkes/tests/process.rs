//! The program as a process: exit codes of wrong usage, and what needs no server.

#[path = "support/program.rs"]
mod program;

use program::program as bkes;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_the_error_stream() {
    let table: [&[&str]; 33] = [
        &[],
        &["nonsense"],
        &["read"],
        &["read", "hex:0"],
        &["read", "k", "--limit", "0"],
        &["read", "k", "--from", "x"],
        &["read", "k", "--as-of-time", "yesterday"],
        &["read", "k", "--as-of-time", "2026"],
        &["read", "k", "--as-of-time", "1970-01-01T00:00:00Z", "--as-of-offset", "0"],
        &["wait", "0:1", "--timeout", "18446744073709551615ms"],
        &["append", "k", "--any", "v", "--timeout", "525601m"],
        &["append", "k", "--any", "v", "-H", "base64:YQ==v"],
        &["--server", "https://127.0.0.1:1", "status"],
        &["read", "k", "--backwards", "--part-by-part"],
        &["read", "k", "--latest", "--at-least", "0:1"],
        &["read", "k", "-f", "%q"],
        &["read", "k", "-f", "%s", "-o", "json"],
        &["append", "k", "v"],
        &["append", "k", "--new"],
        &["append", "k", "--new", "--any", "v"],
        &["append", "k", "--new", "v", "--json-lines", "-"],
        &["append", "k", "--new", "json:{"],
        &["append", "k", "--any", "--retry", "v"],
        &["follow", "--key", "k", "--prefix", "p"],
        &["follow", "--from", "0"],
        &["wait", "0:x"],
        &["export"],
        &["export", "k", "--all"],
        &["--server", "a", "--context", "b", "status"],
        &["verify", "--no-server"],
        &["verify", "-b", "broker:9092", "-X", "enable.idempotence=false"],
        &["doctor", "--no-server"],
        &["bench", "--reads", "--mixed"],
    ];
    for words in table {
        let (code, output, talk) = run(&mut bkes(words));
        assert_eq!((code, output.as_str()), (2, ""), "{words:?}: {talk}");
        assert!(!talk.is_empty(), "{words:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    let (code, output, talk) = run(&mut bkes(&["--help"]));
    assert_eq!((code, talk.as_str()), (0, ""));
    assert!(output.contains("Exit codes:\n  0  done\n"), "{output}");
    let (code, output, _) = run(&mut bkes(&["append", "--help"]));
    assert!(code == 0 && output.contains("Examples:\n"), "{output}");
    let (code, output, _) = run(&mut bkes(&["--version"]));
    assert_eq!((code, output), (0, format!("bkes {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let (code, output, talk) = run(&mut bkes(&["--server", "127.0.0.1:1", "head", "k"]));
    assert_eq!((code, output.as_str()), (5, ""), "{talk}");
    assert!(talk.starts_with("bkes: ") && !talk.contains('\x1b'), "{talk}");
    let (_, _, talk) = run(&mut bkes(&["--server", "127.0.0.1:1", "--color", "always", "head", "k"]));
    assert!(talk.starts_with("\x1b[1;31mbkes:\x1b[0m "), "{talk:?}");
}

#[test]
fn contexts_are_set_used_listed_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("contexts.json");
    let context = |words: &[&str]| {
        let words = [&["context"], words].concat();
        run(bkes(&words).env("BKES_CONTEXT_FILE", &path))
    };
    assert_eq!(context(&["list"]), (0, String::new(), String::new()));
    assert_eq!(context(&["set", "test", "one"]).0, 0);
    assert_eq!(context(&["set", "live", "two:2"]).0, 0);
    assert_eq!(context(&["use", "live"]).0, 0);
    let (_, output, _) = context(&["list", "-o", "table"]);
    assert_eq!(output, "* live                 two:2\n  test                 one:50030\n");
    assert_eq!(context(&["remove", "live"]).0, 0);
    let (_, output, _) = context(&["list"]);
    assert_eq!(output, "{\"name\":\"test\",\"server\":\"one:50030\",\"current\":false}\n");
    let (code, _, talk) = context(&["use", "live"]);
    assert!(code == 2 && talk.contains("there are test"), "{talk}");
    let (code, ..) = run(bkes(&["--context", "live", "status"]).env("BKES_CONTEXT_FILE", &path));
    assert_eq!(code, 2);
    std::fs::write(&path, "{").expect("it is ours");
    let (code, _, talk) = context(&["list"]);
    assert!(code == 7 && talk.contains("contexts.json"), "{talk}");
}

#[test]
fn manual_pages_are_there_for_every_verb_and_completions_for_every_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    let man = folder.path().join("man1");
    let (code, _, talk) = run(&mut bkes(&["man", man.to_str().expect("it is text")]));
    assert_eq!((code, talk.as_str()), (0, ""));
    for verb in ["", "-append", "-read", "-follow", "-import", "-context-use"] {
        let page = std::fs::read_to_string(man.join(format!("bkes{verb}.1"))).expect(verb);
        assert!(page.contains(".TH bkes"), "{page}");
    }
    let page = std::fs::read_to_string(man.join("bkes.1")).expect("it is there");
    assert!(page.contains("Exit codes:"), "{page}");
    assert!(!man.join("bkes-reference.1").exists(), "what is hidden has no page");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, output, _) = run(&mut bkes(&["completions", shell]));
        assert!(code == 0 && output.contains("append"), "{shell}");
    }
    let (code, _, talk) = run(&mut bkes(&["man", man.join("bkes.1").to_str().expect("it is text")]));
    assert!(code == 7 && talk.contains("bkes.1"), "{talk}");
}

#[test]
fn a_closed_pipe_ends_it_quietly_and_a_full_disk_does_not() {
    let mut child = bkes(&["completions", "bash"]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it runs");
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    assert_eq!((status.code(), stderr), (Some(0), Vec::new()));

    let full = Path::new("/dev/full");
    if full.exists() {
        let file = std::fs::OpenOptions::new().write(true).open(full).expect("it can be opened");
        let child = bkes(&["completions", "bash"]).stdout(file).stderr(Stdio::piped()).spawn();
        let Output { status, stderr, .. } =
            child.and_then(std::process::Child::wait_with_output).expect("it ends");
        let talk = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(7) && talk.contains("standard output cannot be written"), "{talk}");
    }
}
