//! A client of HTTP/2 that does what no gRPC library would: it stops anywhere, and takes back what it began.

use super::soon;
use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tonic::codegen::http::Request;
use tonic::{Code, Status};

pub const START: &str = "/tech.gklijs.bkes.api.Bkes/Start";

/// A call that sends any number of messages.
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

pub struct Raw {
    send: SendRequest<Bytes>,
}

/// A call that has begun.
pub struct Call {
    answer: ResponseFuture,
    pub body: SendStream<Bytes>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Raw {
        let stream = soon("it connects", TcpStream::connect(address)).await.expect("it connects");
        stream.set_nodelay(true).expect("it is open");
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .max_concurrent_reset_streams(0);
        let (send, connection): (_, Connection<TcpStream>) =
            soon("it speaks", builder.handshake(stream)).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        Raw { send }
    }

    /// Begins a call: its headers and nothing more.
    pub async fn begin(&mut self, path: &str) -> Result<Call, h2::Error> {
        self.begin_within(path, None).await
    }

    /// The same of one who waits so many milliseconds, and does not look at a clock.
    pub async fn begin_within(&mut self, path: &str, timeout_ms: Option<u64>) -> Result<Call, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(timeout_ms) = timeout_ms {
            request = request.header("grpc-timeout", format!("{timeout_ms}m"));
        }
        let request = request.body(()).expect("a request");
        let (answer, body) = send.send_request(request, false)?;
        Ok(Call { answer, body })
    }
}

impl Raw {
    /// How many streams the server lets it have open.
    pub fn streams_max(&self) -> usize {
        self.send.current_max_send_streams()
    }
}

impl Call {
    /// Sends some bytes of the message; the end of the stream does not come.
    pub fn push(&mut self, bytes: impl Into<Bytes>) -> Result<(), h2::Error> {
        self.body.send_data(bytes.into(), false)
    }

    /// Takes the call back.
    pub fn cancel(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// The two directions of a call.
    pub fn split(self) -> (SendStream<Bytes>, Answer) {
        (self.body, Answer(self.answer))
    }

    /// See [`Answer::code`]; the call stays open until then.
    pub async fn code(self) -> Option<Code> {
        let (_open, answer) = self.split();
        answer.code().await
    }
}

/// What comes back of a call.
pub struct Answer(ResponseFuture);

impl Answer {
    /// The code that the call ends with; `None` when it ends with a reply.
    pub async fn code(self) -> Option<Code> {
        self.status().await.map(|status| status.code())
    }

    /// The status that the call ends with; `None` when it ends with a reply.
    pub async fn status(self) -> Option<Status> {
        let response = self.0.await.expect("the connection is there");
        let headers = response.headers().clone();
        if let Some(status) = Status::from_header_map(&headers) {
            return Some(status);
        }
        let mut body = response.into_body();
        while let Some(chunk) = body.data().await {
            let _ = body.flow_control().release_capacity(chunk.expect("the connection is there").len());
        }
        let trailers = body.trailers().await.expect("the connection is there")?;
        Status::from_header_map(&trailers).filter(|status| status.code() != Code::Ok)
    }
}

/// The head of a message of so many bytes.
pub fn prefix(bytes: u32) -> Vec<u8> {
    [&[0], &bytes.to_be_bytes()[..]].concat()
}

/// A whole message: a start of this key.
pub fn start_message(key: &str, value: &[u8]) -> Vec<u8> {
    use prost::Message;
    let request = bkes_grpc::api::StartRequest { key: key.to_owned().into(), value: value.to_vec().into() };
    let message = request.encode_to_vec();
    [prefix(message.len() as u32), message].concat()
}
