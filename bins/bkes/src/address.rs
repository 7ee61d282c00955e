//! Which server: a flag over a context that is named over `BKES_SERVER` over the context in use over this machine.

use crate::byte_argument::quoted;
use crate::contexts::Contexts;
use crate::exit::Ended;
use std::ffi::OsString;
use std::path::PathBuf;

/// The port of a server whose address names none: bkes-server's default.
pub const PORT: u16 = 50030;

/// What `--help` says of it.
pub const SERVERS: &str = "The server is that of --server or --context, or else of the variable BKES_SERVER, or else of the \
context in use (bkes context use), or else 127.0.0.1:50030. Contexts are kept in the file that BKES_CONTEXT_FILE names, or else in \
bkes/contexts.json in XDG_CONFIG_HOME or ~/.config. Tables and errors are coloured on terminals, unless NO_COLOR is set.";

/// Flags that say which server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// The server, HOST:PORT; several instances of one topic with commas between them
    #[arg(short, long, global = true, value_name = "ADDRESS", help_heading = "Options of every verb")]
    pub server: Option<String>,

    /// The context that names the server
    #[arg(long, global = true, value_name = "NAME", help_heading = "Options of every verb")]
    pub context: Option<String>,
}

impl ServerArgs {
    /// The program as it is called for this server, for advice that repeats it.
    pub fn program(&self) -> String {
        let flag = |name: &str, value: &Option<String>| {
            value.as_ref().map_or_else(String::new, |value| format!(" --{name} {}", quoted(value)))
        };
        format!("bkes{}{}", flag("server", &self.server), flag("context", &self.context))
    }
}

/// What the environment says. A variable without content is not set.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    server: Option<OsString>,
    context_file: Option<OsString>,
    config_home: Option<OsString>,
    home: Option<OsString>,
}

impl Environment {
    /// The one that `variable` looks into.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Environment {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Environment {
            server: set("BKES_SERVER"),
            context_file: set("BKES_CONTEXT_FILE"),
            config_home: set("XDG_CONFIG_HOME"),
            home: set("HOME"),
        }
    }

    /// The file of contexts.
    pub fn contexts_path(&self) -> Result<PathBuf, Ended> {
        if let Some(path) = &self.context_file {
            return Ok(path.into());
        }
        let home = self.home.as_ref().map(|home| PathBuf::from(home).join(".config"));
        let config = self.config_home.as_ref().map(PathBuf::from).or(home);
        let config = config.ok_or_else(|| {
            Ended::usage(
                "neither BKES_CONTEXT_FILE nor XDG_CONFIG_HOME nor HOME says where contexts are kept",
            )
        })?;
        Ok(config.join("bkes").join("contexts.json"))
    }
}

/// The address of the server.
pub fn resolve(args: &ServerArgs, environment: &Environment) -> Result<String, Ended> {
    if args.server.is_some() && args.context.is_some() {
        return Err(Ended::usage("--server and --context exclude each other"));
    }
    if let Some(server) = &args.server {
        return with_port(server);
    }
    let contexts = || Contexts::load(&environment.contexts_path()?);
    if let Some(name) = &args.context {
        return with_port(contexts()?.server(name)?);
    }
    if let Some(server) = &environment.server {
        return with_port(server.to_str().ok_or_else(|| Ended::usage("BKES_SERVER is no text"))?);
    }
    if environment.contexts_path().is_ok() {
        let contexts = contexts()?;
        if let Some(name) = contexts.current() {
            return with_port(contexts.server(name)?);
        }
    }
    with_port("127.0.0.1")
}

/// Addresses with their ports, between commas.
pub fn with_port(addresses: &str) -> Result<String, Ended> {
    let each: Result<Vec<String>, Ended> =
        addresses.split(',').map(|each| one_with_port(each.trim())).collect();
    Ok(each?.join(","))
}

fn one_with_port(address: &str) -> Result<String, Ended> {
    let is_written = |c: char| !c.is_whitespace() && !c.is_control();
    if address.is_empty() || !address.chars().all(is_written) {
        return Err(Ended::usage(format_args!("{address:?} is no address of a server: write HOST:PORT")));
    }
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            ("http://", rest.strip_suffix('/').unwrap_or(rest))
        }
        // What is meant for TLS is not sent in plain text.
        Some((scheme, _)) => {
            return Err(Ended::usage(format_args!(
                "{address:?} asks for {scheme}://, and this program speaks http:// only"
            )));
        }
        None => ("", address),
    };
    if rest.is_empty() || rest.contains('/') {
        return Err(Ended::usage(format_args!("{address:?} is no address of a server: write HOST:PORT")));
    }
    let is_bare_ip6 = rest.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if is_bare_ip6 { format!("[{rest}]") } else { rest.to_owned() };
    let after_ip6 = host.rsplit_once(']').map_or(host.as_str(), |(_, after)| after);
    let has_port = after_ip6.contains(':');
    Ok(if has_port { format!("{scheme}{host}") } else { format!("{scheme}{host}:{PORT}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Environment::of(move |wanted| {
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_nearest_word_counts() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let content = r#"{"current":"a","contexts":{"a":{"server":"of-a"},"b":{"server":"of-b:1"}}}"#;
        std::fs::write(file.path(), content).expect("it is ours");
        let path = file.path().to_str().expect("a path");
        let flags = |server: Option<&str>, context: Option<&str>| ServerArgs {
            server: server.map(Into::into),
            context: context.map(Into::into),
        };
        let both = [("BKES_SERVER", "of-variable"), ("BKES_CONTEXT_FILE", path)];
        let only_file = [("BKES_SERVER", ""), ("BKES_CONTEXT_FILE", path)];
        let table = [
            (flags(Some("of-flag:7"), None), &both[..], Some("of-flag:7")),
            (flags(None, Some("b")), &both, Some("of-b:1")),
            (flags(None, None), &both, Some("of-variable:50030")),
            (flags(None, None), &only_file, Some("of-a:50030")),
            (flags(None, None), &[], Some("127.0.0.1:50030")),
            (flags(None, Some("c")), &both, None),
            (flags(Some("x"), Some("b")), &both, None),
            (flags(Some("a b"), None), &both, None),
            (flags(Some(""), None), &both, None),
        ];
        for (flags, variables, expected) in table {
            let resolved = resolve(&flags, &environment(variables));
            assert_eq!(resolved.as_deref().ok(), expected, "{flags:?} {variables:?}");
        }
    }

    #[test]
    fn advice_names_the_server_as_it_was_named() {
        let program = |server: Option<&str>, context: Option<&str>| {
            ServerArgs { server: server.map(Into::into), context: context.map(Into::into) }.program()
        };
        assert_eq!(program(None, None), "bkes");
        assert_eq!(program(Some("host:1,other"), None), "bkes --server host:1,other");
        assert_eq!(program(None, Some("my own")), "bkes --context 'my own'");
    }

    #[test]
    fn contexts_lie_where_programs_keep_their_settings() {
        let table = [
            (&[("BKES_CONTEXT_FILE", "f"), ("HOME", "h")][..], Some("f")),
            (&[("XDG_CONFIG_HOME", "x"), ("HOME", "h")], Some("x/bkes/contexts.json")),
            (&[("HOME", "h")], Some("h/.config/bkes/contexts.json")),
            (&[], None),
        ];
        for (variables, expected) in table {
            assert_eq!(
                environment(variables).contexts_path().ok(),
                expected.map(PathBuf::from),
                "{variables:?}"
            );
        }
    }

    #[test]
    fn an_address_without_a_port_has_the_servers() {
        let table = [
            ("host", "host:50030"),
            ("host:1", "host:1"),
            ("::1", "[::1]:50030"),
            ("[::1]", "[::1]:50030"),
            ("[::1]:1", "[::1]:1"),
            ("http://host:1", "http://host:1"),
            ("HTTP://host", "http://host:50030"),
            ("http://host/", "http://host:50030"),
            ("http://::1", "http://[::1]:50030"),
        ];
        for (given, expected) in table {
            assert_eq!(with_port(given).as_deref(), Ok(expected), "{given}");
        }
        for refused in
            ["https://host", "https://host:1", "unix:///socket", "a,https://b", "http://", "http://host/x"]
        {
            assert!(with_port(refused).is_err(), "{refused}");
        }
    }
}
