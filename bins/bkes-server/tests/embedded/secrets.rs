//! Properties of Kafka's client on their way from a user to a broker: whole, and shown to nobody.

use crate::support::{Server, command};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tempfile::TempDir;

/// Every sign that a list, a file or a shell could take for its own.
const PASSWORD: &str = "QZ;XJ=\"QX'ZJ\\n#XQ; acks=ZQ%$XZ ";

/// Kafka's numbers of requests.
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;

/// A port that speaks as much of Kafka as a client needs to send its password, and hands that on.
fn listener() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (sender, tokens) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || drop(talk(stream, &sender)));
        }
    });
    (address, tokens)
}

fn talk(mut stream: TcpStream, sender: &Sender<String>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; i32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request)?;
        let mut answer = request[4..8].to_vec();
        match i16::from_be_bytes([request[0], request[1]]) {
            API_VERSIONS => {
                answer.extend([0, 0, 4]);
                for (kind, most) in [(SASL_HANDSHAKE, 1), (API_VERSIONS, 3), (SASL_AUTHENTICATE, 0i16)] {
                    answer.extend(kind.to_be_bytes());
                    answer.extend([0, 0]);
                    answer.extend(most.to_be_bytes());
                    answer.push(0);
                }
                answer.extend([0; 5]);
            }
            SASL_HANDSHAKE => answer.extend(b"\0\0\0\0\0\x01\0\x05PLAIN"),
            _ => {
                // The name of the client stands before the token, and the token is what its own length says.
                let name = i16::from_be_bytes([request[8], request[9]]) as usize;
                let token = String::from_utf8_lossy(&request[10 + name + 4..]).into_owned();
                drop(sender.send(token));
                return Ok(());
            }
        }
        stream.write_all(&(answer.len() as i32).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, content).expect("it is ours");
    path.to_str().expect("a path").to_owned()
}

/// Whether a text holds four signs of the password in a row, two of them its letters.
fn shows(text: &str) -> Option<String> {
    let signs: Vec<char> = PASSWORD.chars().collect();
    let pieces =
        signs.windows(4).filter(|piece| piece.iter().filter(|sign| "QZXJ".contains(**sign)).count() > 1);
    pieces.map(String::from_iter).find(|piece| text.contains(piece))
}

/// A password with a `;` in it could not be given at all. Whichever way it comes, the broker is sent what the user meant, and neither
/// the log at its most talkative nor `--print-config` shows it.
#[test]
fn a_password_reaches_the_broker_as_it_was_given_and_nothing_shows_it() {
    let data = TempDir::new().expect("a directory");
    let quoted = format!("\"{}\"", PASSWORD.replace('"', "\"\""));
    let in_java = PASSWORD.replace('\\', "\\\\").replace('"', "\\\"");
    let jaas = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"me\" password=\"{in_java}\";"
    );
    let secret = write(data.path(), "password", &format!("{PASSWORD}\n"));
    let config = format!("sasl.username=me\nsasl.password:{}\n", PASSWORD.replace('\\', "\\\\"));
    let config = write(data.path(), "client.properties", &config);
    let for_java = format!("sasl.jaas.config={}\n", jaas.replace('\\', "\\\\"));
    let for_java = write(data.path(), "java.properties", &for_java);
    let list = format!("sasl.password={quoted};client.id=me");
    for variables in [
        [("KAFKA_PROPERTIES", list.as_str()), ("KAFKA_PROPERTY_SASL_USERNAME", "me")],
        [("KAFKA_PROPERTY_SASL_PASSWORD", PASSWORD), ("KAFKA_PROPERTY_SASL_USERNAME", "me")],
        [("KAFKA_PROPERTY_SASL_PASSWORD_FILE", secret.as_str()), ("KAFKA_PROPERTY_SASL_USERNAME", "me")],
        [("KAFKA_CONFIG", config.as_str()), ("KAFKA_PROPERTIES", "")],
        [("KAFKA_CONFIG", for_java.as_str()), ("KAFKA_PROPERTIES", "client.id=me")],
        [("KAFKA_PROPERTY_SASL_JAAS_CONFIG", jaas.as_str()), ("KAFKA_PROPERTIES", "")],
    ] {
        let (brokers, tokens) = listener();
        let mut server = command(data.path());
        server.envs(variables).env("KAFKA_BROKERS", brokers).env("RUST_LOG", "debug");
        server.args([
            "-X",
            "security.protocol=sasl_plaintext",
            "-X",
            "sasl.mechanism=PLAIN",
            "-X",
            "debug=all",
        ]);
        let server = Server::start_silent(server);
        let token = tokens.recv_timeout(Duration::from_secs(60));
        let token = token.unwrap_or_else(|_| panic!("{:?}: no password is sent", variables[0].0));
        assert_eq!(token, format!("\0me\0{PASSWORD}"), "{:?}", variables[0].0);
        let log = server.log();
        assert!(log.contains("librdkafka"), "it is talkative: {log}");
        assert_eq!(shows(&log), None, "{:?}: {log}", variables[0].0);
        server.kill();
        let mut print = command(data.path());
        let (_, shown) = said(print.envs(variables).arg("--print-config"));
        assert!(shown.contains("property sasl.password=********\n"), "{shown}");
        assert_eq!(shows(&shown), None, "{shown}");
    }
}

/// Exit code, and everything that is said.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The rest of a password after its `;` stood in the error, and in `--print-config` as a property of its own.
#[test]
fn neither_an_error_nor_the_config_nor_the_help_shows_a_piece_of_a_password() {
    let data = TempDir::new().expect("a directory");
    let config = write(data.path(), "client.properties", &format!("sasl.pasword {PASSWORD}"));
    let mut lists: Vec<String> = vec![PASSWORD.to_owned()];
    lists.extend(
        [
            "sasl.password={}",
            "sasl.password=\"{}",
            "sasl.password='{}'",
            "acks={}",
            "{}=a",
            "sasl.password={};{}",
        ]
        .map(|form| form.replace("{}", PASSWORD)),
    );
    for list in &lists {
        for flags in [&["--print-config"][..], &["--help"], &[]] {
            let mut by_variable = command(data.path());
            by_variable.env("KAFKA_PROPERTIES", list).args(flags);
            let mut by_flag = command(data.path());
            by_flag.args(["--kafka-properties", list]).args(flags);
            let mut by_property = command(data.path());
            by_property.args(["-X", list]).args(flags);
            // A value with a blank that nobody put into quotes is two arguments.
            let mut cut = command(data.path());
            cut.args(["-X"]).args(list.split(' ')).args(flags);
            let mut by_name = command(data.path());
            by_name.env("KAFKA_PROPERTY_SASL_PASWORD", list).args(flags);
            let mut by_file = command(data.path());
            by_file.env("KAFKA_CONFIG", &config).args(flags);
            for command in
                [&mut by_variable, &mut by_flag, &mut by_property, &mut cut, &mut by_name, &mut by_file]
            {
                // Some are taken: their server ends when it sees where its data should lie.
                command.env("DATA_PATH", &config);
                let (code, said) = said(command);
                assert!([Some(0), Some(2), Some(4)].contains(&code), "{list:?}: {code:?}: {said}");
                assert_eq!(shows(&said), None, "{list:?}: {said}");
            }
        }
    }
}

/// `delivery.report.only.error=true` stopped the instance after 1,000 appends.
#[test]
fn a_property_that_would_stop_the_instance_is_refused_with_the_reason() {
    let data = TempDir::new().expect("a directory");
    for flags in [&["--print-config"][..], &[]] {
        let (code, said) =
            said(command(data.path()).args(["-X", "delivery.report.only.error=true"]).args(flags));
        assert_eq!(code, Some(2), "{said}");
        let reason =
            "property delivery.report.only.error is refused: it is always false, since appends that succeed";
        assert!(said.contains(reason), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_list_that_is_no_text_is_refused_without_a_piece_of_it() {
    use std::os::unix::ffi::OsStringExt;
    let data = TempDir::new().expect("a directory");
    let list = std::ffi::OsString::from_vec([b"sasl.password=\xff", PASSWORD.as_bytes()].concat());
    for name in ["KAFKA_PROPERTIES", "KAFKA_PROPERTY_SASL_PASSWORD"] {
        let (code, said) = said(command(data.path()).env(name, &list).arg("--print-config"));
        assert_eq!((code, shows(&said)), (Some(2), None), "{said}");
    }
}
