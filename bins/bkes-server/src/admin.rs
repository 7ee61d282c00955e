//! The admin port: where it listens, and its end.
//!
//! Its default port may be taken: by another server on this machine, or by anything else. A server whose operator asked for no admin port
//! serves all the same then, and says so. One that was told where to listen ends, as it does for the port of its calls.

use crate::exit::{Ended, Reason};
use bkes_admin::Instance;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where the admin port is if nobody says: loopback only.
pub const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9097);

/// Where the admin port is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminListen {
    /// Here; port 0 takes a free one.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminListen, String> {
        if text == "off" {
            return Ok(AdminListen::Off);
        }
        let wrong = |_| format!("{text:?} is neither an address and port, as {DEFAULT} is, nor \"off\"");
        text.parse().map(AdminListen::At).map_err(wrong)
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminListen::At(address) => write!(f, "{address}"),
            AdminListen::Off => f.write_str("off"),
        }
    }
}

/// Takes the port, unless there is to be none. `None` for one that nobody asked for is the default.
pub async fn listen(asked: Option<AdminListen>) -> Result<Option<TcpListener>, Ended> {
    let address = match asked {
        Some(AdminListen::Off) => return Ok(None),
        Some(AdminListen::At(address)) => address,
        None => DEFAULT,
    };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) if asked.is_none() => {
            tracing::warn!(
                "no admin port: its default address {address} cannot be bound: {error}; choose one with --admin-listen, or \"off\""
            );
            return Ok(None);
        }
        Err(error) => {
            let words =
                format!("the admin port cannot be on {address}: {error}; choose another with --admin-listen");
            return Err(Ended::new(Reason::Address, words));
        }
    };
    let bound = listener.local_addr().map_err(|error| Ended::new(Reason::Address, error))?;
    tracing::info!("admin port on {bound}");
    Ok(Some(listener))
}

/// The admin port while it is served.
pub struct Admin {
    instance: Instance,
    serving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Admin {
    /// Serves it on a listener, if there is one.
    pub fn serve(listener: Option<TcpListener>, instance: Instance) -> Admin {
        let serving = listener.map(|listener| {
            let (stop, stopped) = oneshot::channel::<()>();
            let router = bkes_admin::router(instance.clone());
            // Whoever drops the sender ends it too.
            let asked = async move { drop(stopped.await) };
            (stop, tokio::spawn(bkes_admin::run(listener, router, asked)))
        });
        Admin { instance, serving }
    }

    /// What it tells about.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Ends it, and lets the engine's handle go. It is served until then, so that a stop can be looked at.
    pub async fn end(self) {
        let Some((stop, serving)) = self.serving else { return };
        let _ = stop.send(());
        if let Err(error) = serving.await {
            tracing::error!("the admin port ended before the stop: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_off_is_taken_and_anything_else_is_told() {
        assert_eq!("off".parse(), Ok(AdminListen::Off));
        assert_eq!("127.0.0.1:9097".parse(), Ok(AdminListen::At(DEFAULT)));
        for text in ["", "9097", "localhost", "127.0.0.1", "OFF", "on"] {
            let error = text.parse::<AdminListen>().expect_err(text);
            assert!(error.contains(&format!("{text:?}")) && error.contains("127.0.0.1:9097"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_that_was_asked_for_and_is_taken_ends_the_server() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("it is bound");
        let error = listen(Some(AdminListen::At(address))).await.expect_err("it is taken").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--admin-listen"), "{error}");
    }

    #[tokio::test]
    async fn no_port_is_taken_where_none_is_wanted() {
        assert!(listen(Some(AdminListen::Off)).await.expect("nothing is bound").is_none());
    }

    /// Whether the default port is free is not the test's: this one takes it, or somebody else has it.
    #[tokio::test]
    async fn a_default_port_that_is_taken_hinders_nobody() {
        let _mine = TcpListener::bind(DEFAULT).await;
        assert!(listen(None).await.expect("the server goes on").is_none());
    }
}
