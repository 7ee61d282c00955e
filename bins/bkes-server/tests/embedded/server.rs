//! The server as a new user runs it: on the embedded log, killed, stopped, started wrongly.

use bkes_grpc::api::error::{Outcome, Reason, Type};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use crate::support::{Server, command};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test]
async fn events_are_there_after_a_kill() {
    let data = TempDir::new().expect("a directory");
    let server = Server::start(command(data.path()));
    let mut client = server.client().await;
    let stored = client.start_when_ready("book", "bought").await;
    assert_eq!((stored.order, stored.partition, stored.offset), (Some(0), 0, 0));
    client.add("book", 1, "rented").await.expect("accepted");
    let stale = client.add("book", 1, "rented too").await.expect_err("the order is taken");
    assert_eq!(
        (stale.r#type(), stale.reason(), stale.current_order),
        (Type::Concurrency, Reason::Conflict, Some(2))
    );
    let empty = client.start("", "x").await.expect_err("no key");
    assert_eq!((empty.r#type(), empty.reason()), (Type::User, Reason::EmptyKey));
    assert!(server.log().contains("running on the embedded log"), "{}", server.log());
    server.kill();
    let server = Server::start(command(data.path()));
    let mut client = server.client().await;
    client.ready().await;
    assert_eq!(client.values("book").await, ["bought", "rented"]);
}

#[tokio::test]
async fn one_connection_more_than_the_setting_allows_is_closed() {
    let data = TempDir::new().expect("a directory");
    let mut command = command(data.path());
    command.args(["--max-connections", "1"]).env("MAX_REQUESTS", "1");
    let server = Server::start(command);
    let mut first = server.client().await;
    first.start_when_ready("book", "bought").await;
    let mut second = TcpStream::connect(&server.address).expect("the system takes it");
    second.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let closed = std::io::Read::read(&mut second, &mut [0; 1]);
    assert!(
        matches!(closed, Ok(0)) || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(first.values("book").await, ["bought"]);
}

/// Deployments of the original set these variables; they find everything where they put it.
#[tokio::test]
async fn defect_8_the_originals_variables_keep_working() {
    let data = TempDir::new().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port().to_string();
    drop(free);
    let mut original = command(data.path());
    original
        .env("API_PORT", &port)
        .env("MAX_CONSUMER_THREADS", "3")
        .env("KAFKA_TOPIC", "books")
        .env("RUST_LOG", "info");
    let server = Server::start(original);
    assert_eq!(server.address, format!("127.0.0.1:{port}"));
    server.client().await.start_when_ready("book", "bought").await;
    assert!(data.path().join("bkes").is_dir(), "ours lie in a folder of their own");
}

#[tokio::test]
async fn a_stop_ends_in_time_with_idle_and_half_open_connections() {
    let data = TempDir::new().expect("a directory");
    let mut command = command(data.path());
    command.env("SHUTDOWN_MS", "3000");
    let server = Server::start(command);
    let mut idle = server.client().await;
    idle.start_when_ready("book", "bought").await;
    let half_open = TcpStream::connect(&server.address).expect("it connects");
    let (status, took) = server.terminate().await;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop((idle, half_open));
}

fn refused(mut command: std::process::Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let data = TempDir::new().expect("a directory");
    let _server = Server::start(command(data.path()));
    std::thread::sleep(Duration::from_millis(500));
    let (code, said) = refused(command(data.path()));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("another process uses"), "{said}");
}

#[test]
fn a_port_in_use_and_a_directory_that_cannot_be_used_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let data = TempDir::new().expect("a directory");
    let mut wrong = command(data.path());
    wrong.env("API_PORT", port.to_string());
    let (code, said) = refused(wrong);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("cannot serve on 127.0.0.1:{port}")), "{said}");
    let file = data.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let (code, said) = refused(command(&file));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("cannot use"), "{said}");
}

/// The image's user met a volume that belonged to another one, and all it said was "permission denied", again and again.
#[test]
fn a_directory_of_another_user_is_refused_with_its_owner_the_user_and_the_cure() {
    let directory = TempDir::new().expect("a directory");
    let program = directory.path().join("bkes-server");
    fs::copy(env!("CARGO_BIN_EXE_bkes-server"), &program).expect("a copy that every user can reach");
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("a directory");
    for path in [directory.path(), &program, &data] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).expect("it is ours");
    }
    let owner = fs::metadata(&data).expect("it is there");
    // Root may write everywhere: the server runs as nobody then.
    let user = if owner.uid() == 0 { (65_534, 65_534) } else { (owner.uid(), owner.gid()) };
    for brokers in [None, Some("127.0.0.1:1")] {
        let mut server = Command::new(&program);
        server.env_clear().env("DATA_PATH", &data).env("API_PORT", "0");
        if owner.uid() == 0 {
            server.uid(user.0).gid(user.1);
        }
        if let Some(brokers) = brokers {
            server.env("KAFKA_BROKERS", brokers);
        }
        let (code, said) = refused(server);
        assert_eq!(code, Some(4), "{brokers:?}: {said}");
        for part in [
            "Permission denied".to_owned(),
            format!("{} belongs to uid {}, gid {}", data.display(), owner.uid(), owner.gid()),
            format!("runs as uid {}, gid {}", user.0, user.1),
            format!("chown -R {}:{} {}", user.0, user.1, data.display()),
            "--data-path (DATA_PATH)".to_owned(),
        ] {
            assert!(said.contains(&part), "{brokers:?}: {part:?} is missing: {said}");
        }
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// What `bkes-server --print-config` shows with these variables.
fn config(variables: &[(&str, &str)]) -> String {
    let mut print = Command::new(env!("CARGO_BIN_EXE_bkes-server"));
    print.env_clear().envs(variables.iter().copied()).arg("--print-config");
    let output = print.output().expect("it runs");
    assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The variables of the command, as its help names them, each with the default that the help shows.
fn variables() -> BTreeMap<String, Option<String>> {
    let output = Command::new(env!("CARGO_BIN_EXE_bkes-server")).env_clear().arg("--help").output();
    let help = String::from_utf8(output.expect("it runs").stdout).expect("text");
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let named = words.split("[env: ").skip(1).map(|rest| {
        let name = rest.split(['=', ']']).next().expect("a name").to_owned();
        let default = rest.split("[default: ").next().map_or(0, str::len);
        let is_own = rest.find("--").is_none_or(|next_flag| default < next_flag);
        let default = rest.get(default + "[default: ".len()..).filter(|_| is_own);
        (name, default.and_then(|rest| rest.split(']').next()).map(str::to_owned))
    });
    named.collect()
}

/// Compose files write `NAME=` for a variable that the deployment leaves out. An empty list of brokers was one of no brokers, an
/// empty port no number, an empty switch no truth.
#[test]
fn a_variable_without_content_is_not_set() {
    let (variables, usual) = (variables(), config(&[]));
    for name in ["DATA_PATH", "KAFKA_BROKERS", "KAFKA_TOPIC", "MAX_CONSUMER_THREADS", "API_PORT"] {
        assert!(variables.contains_key(name), "the original's {name} is there: {variables:?}");
    }
    assert!(variables.len() >= 20, "{variables:?}");
    for name in variables.keys() {
        assert_eq!(config(&[(name, "")]), usual, "{name}");
    }
    let all: Vec<(&str, &str)> = variables.keys().map(|name| (name.as_str(), "")).collect();
    assert_eq!(config(&all), usual, "all at once");
    let mut help = Command::new(env!("CARGO_BIN_EXE_bkes-server"));
    let shown = help.env_clear().envs(all.iter().copied()).arg("--help").output().expect("it runs").stdout;
    let shown = String::from_utf8(shown).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
    for name in variables.keys() {
        assert!(shown.contains(&format!("[env: {name}=]")), "the help goes on naming {name}: {shown}");
    }
}

#[test]
fn an_empty_rust_log_logs_what_none_does() {
    let data = TempDir::new().expect("a directory");
    let mut command = command(data.path());
    command.env("RUST_LOG", "");
    Server::start(command).wait_for("ready:");
}

/// `defaults.sh` left out two variables and said that it had them all.
#[test]
fn the_file_of_defaults_says_what_the_command_says() {
    let file =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../defaults.sh")).expect("it is there");
    let exports = file.lines().filter_map(|line| line.strip_prefix("export "));
    let in_file: BTreeMap<&str, &str> = exports
        .map(|line| {
            let (name, value) = line.split_once('=').expect("an assignment");
            let value =
                value.strip_prefix(&format!("\"${{{name}:-")).and_then(|rest| rest.strip_suffix("}\""));
            (name, value.expect("a default for where there is none"))
        })
        .collect();
    for (name, default) in variables() {
        let default = default.filter(|default| default != "\"\"");
        assert_eq!(in_file.get(&*name).copied(), default.as_deref(), "{name}");
    }
    assert_eq!(in_file.get("RUST_LOG"), Some(&"info"));
}

/// The table of `docs/operating.md` has every variable, and its default.
#[test]
fn the_page_of_settings_says_what_the_command_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let page = fs::read_to_string(page).expect("it is there");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>())
        .filter_map(|cells| cells.get(2).copied().zip(cells.get(3).copied()))
        .collect();
    for (name, default) in variables() {
        let default = default.filter(|default| default != "\"\"");
        assert_eq!(rows.get(&*name).copied(), Some(default.as_deref().unwrap_or_default()), "{name}");
    }
    assert_eq!(rows.get("RUST_LOG"), Some(&"info"));
}

fn health(server: &Server, health: &mut Command) -> Option<i32> {
    let port = server.address.rsplit(':').next().expect("a port");
    health.env("API_PORT", port).arg("--health");
    health.stderr(Stdio::null()).status().expect("it runs").code()
}

/// The image asks its own port whether all is well, and a standby did not listen there: it was restarted for ever.
#[tokio::test]
async fn a_standby_says_that_it_is_healthy_and_serves_no_calls() {
    let data = TempDir::new().expect("a directory");
    let mut standby = command(data.path());
    standby.env("STANDBY", "true");
    let server = Server::start_standby(standby);
    server.wait_for("ready:");
    let mut client = server.client().await;
    for error in [
        client.start("book", "bought").await.expect_err("it is a standby"),
        client.add("book", 1, "rented").await.expect_err("it is a standby"),
        client.retrieve("book").await.expect_err("it is a standby"),
    ] {
        let said = (error.r#type(), error.reason(), error.outcome());
        assert_eq!(said, (Type::Server, Reason::Standby, Outcome::Unavailable), "{error:?}");
    }
    // The health service looks at the engine now and then.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while health(&server, &mut command(data.path())) != Some(0) {
        assert!(std::time::Instant::now() < until, "{}", server.log());
    }
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn files_of_the_original_are_left_alone_and_named() {
    let data = TempDir::new().expect("a directory");
    std::fs::write(data.path().join("original.db"), "theirs").expect("a file");
    let server = Server::start(command(data.path()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.log().contains("original.db"), "{}", server.log());
    server.terminate().await;
    assert_eq!(std::fs::read(data.path().join("original.db")).expect("it is there"), b"theirs");
}

#[test]
fn wrong_usage_shows_and_secrets_do_not() {
    let data = TempDir::new().expect("a directory");
    let mut wrong = command(data.path());
    wrong.arg("--no-such-flag");
    assert_eq!(refused(wrong).0, Some(2));
    let mut print = command(data.path());
    print.args(["--print-config", "-X", "sasl.password=hush"]);
    let output = print.output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("API_PORT=0") && !shown.contains("hush"), "{shown}");
}
