//! Calls through the face that every event store has.

use super::{Bench, poll};
use bkes_api::{BoxStream, Event, EventStore, Failure, Key, Page, PageEnd, Read, TaggedAnswer, TaggedAppend};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

pub type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

/// The whole of a read: its events, and how it ended.
#[derive(Debug)]
pub struct Shown {
    pub pages: Vec<Page>,
    /// Why it broke off.
    pub failure: Option<Failure>,
}

impl Shown {
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.pages.iter().flat_map(|page| &page.events)
    }

    pub fn orders(&self) -> Vec<u64> {
        self.events().map(|event| event.order.0).collect()
    }

    pub fn values(&self) -> Vec<String> {
        self.events().map(|event| String::from_utf8_lossy(event.value_bytes()).into_owned()).collect()
    }

    /// What its last page says; no other has an end.
    pub fn end(&self) -> &PageEnd {
        assert_eq!(self.failure, None);
        let (last, before) = self.pages.split_last().expect("there is a page");
        assert!(before.iter().all(|page| page.end.is_none()), "{before:?}");
        last.end.as_ref().expect("the last page has an end")
    }
}

impl Bench {
    /// Begins a call on the engine as an event store.
    pub fn begin<T, F>(&self, call: impl FnOnce(bkes_engine::EngineHandle) -> F) -> Call<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(call(self.handle.clone()))
    }

    /// Runs until a call is answered.
    pub fn finish<T>(&mut self, mut call: Call<T>) -> T {
        let mut found = poll(&mut call);
        if found.is_none() {
            self.run_until("it is answered", |_| {
                found = poll(&mut call);
                found.is_some()
            });
        }
        found.expect("just found")
    }

    /// A call on the engine as an event store, run until it is answered.
    pub fn call<T, F>(&mut self, call: impl FnOnce(bkes_engine::EngineHandle) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let call = self.begin(call);
        self.finish(call)
    }

    pub fn open(&mut self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        self.call(async move |handle| EventStore::read(&handle, read).await)
    }

    /// The whole of a read.
    pub fn show(&mut self, read: Read) -> Result<Shown, Failure> {
        let mut stream = self.open(read)?;
        let mut shown = Shown { pages: Vec::new(), failure: None };
        while let Some(page) = self.next(&mut stream) {
            assert_eq!(shown.failure, None, "nothing comes after a failure");
            match page {
                Ok(page) => shown.pages.push(page),
                Err(failure) => shown.failure = Some(failure),
            }
        }
        Ok(shown)
    }

    /// What a stream gives next; runs until it does.
    pub fn next<T: Send + 'static>(&mut self, stream: &mut BoxStream<T>) -> Option<T> {
        let mut found = poll_stream(stream);
        if found.is_none() {
            self.run_until("the stream goes on", |_| {
                found = poll_stream(stream);
                found.is_some()
            });
        }
        found.expect("just found")
    }
}

/// What a stream has to give now.
pub fn poll_stream<T>(stream: &mut BoxStream<T>) -> Option<Option<T>> {
    poll(&mut Box::pin(stream.next()))
}

/// A stream of appends that is fed by hand.
pub struct Feed {
    pub appends: Option<mpsc::UnboundedSender<TaggedAppend>>,
    pub answers: BoxStream<TaggedAnswer>,
}

impl Feed {
    pub fn new(bench: &mut Bench) -> Feed {
        let (appends, fed) = mpsc::unbounded_channel();
        let fed: BoxStream<TaggedAppend> =
            Box::pin(futures_util::stream::unfold(fed, async |mut fed| Some((fed.recv().await?, fed))));
        let answers = bench.call(async move |handle| EventStore::append_stream(&handle, fed).await);
        Feed { appends: Some(appends), answers: answers.expect("it begins") }
    }

    pub fn send(&self, append: TaggedAppend) {
        self.appends.as_ref().expect("it has not ended").send(append).expect("it is taken");
    }

    /// Everything that is answered by now.
    pub fn answered(&mut self) -> Vec<TaggedAnswer> {
        let mut answers = Vec::new();
        while let Some(Some(answer)) = poll_stream(&mut self.answers) {
            answers.push(answer);
        }
        answers
    }

    /// Ends it, and runs until all is answered.
    pub fn end(mut self, bench: &mut Bench) -> Vec<TaggedAnswer> {
        self.appends = None;
        let mut answers = Vec::new();
        while let Some(answer) = bench.next(&mut self.answers) {
            answers.push(answer);
        }
        answers
    }
}
