//! An event store that answers each call as a script says, and remembers what it was asked.

use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, EventStore, Failure, Follow, FollowItem, Freshness, Head,
    Key, KeyList, KeyedPage, KeysRequest, Page, Read, ReadMany, Status, TaggedAnswer, TaggedAppend, WaitFor,
};
use std::sync::{Arc, Mutex};
use tokio_stream::StreamExt;

/// What to answer. What a script does not say fails as `otherwise` says.
#[derive(Clone)]
pub struct Script {
    pub append: Result<Appended, AppendFailure>,
    pub pages: Vec<Result<Page, Failure>>,
    pub keyed: Vec<Result<KeyedPage, Failure>>,
    pub items: Vec<Result<FollowItem, Failure>>,
    pub head: Result<Option<Head>, Failure>,
    pub keys: Result<KeyList, Failure>,
    pub wait: Result<(), Failure>,
    pub status: Result<Status, Failure>,
    /// What opening a stream fails with, if it does.
    pub opening: Option<Failure>,
}

impl Script {
    /// Everything fails so, after it was opened.
    pub fn failing(append: AppendFailure, failure: &Failure) -> Script {
        Script {
            append: Err(append),
            pages: vec![Err(failure.clone())],
            keyed: vec![Err(failure.clone())],
            items: vec![Err(failure.clone())],
            head: Err(failure.clone()),
            keys: Err(failure.clone()),
            wait: Err(failure.clone()),
            status: Err(failure.clone()),
            opening: None,
        }
    }
}

/// What was asked, as it came out at this end.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    Append(Append),
    Tagged(TaggedAppend),
    Read(Read),
    ReadMany(ReadMany),
    Head(Key, Freshness),
    Keys(KeysRequest),
    Follow(Follow),
    Wait(WaitFor),
    Status,
}

#[derive(Clone)]
pub struct Scripted(Arc<Mutex<(Script, Vec<Asked>)>>);

impl Scripted {
    pub fn new(script: Script) -> Scripted {
        Scripted(Arc::new(Mutex::new((script, Vec::new()))))
    }

    pub fn play(&self, script: Script) {
        self.0.lock().expect("no panic").0 = script;
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().expect("no panic").1)
    }

    fn next(&self, asked: Asked) -> Script {
        let mut inner = self.0.lock().expect("no panic");
        inner.1.push(asked);
        inner.0.clone()
    }

    fn open<T: Send + 'static>(
        script: Script,
        items: Vec<Result<T, Failure>>,
    ) -> Result<BoxStream<Result<T, Failure>>, Failure> {
        match script.opening {
            Some(failure) => Err(failure),
            None => Ok(Box::pin(tokio_stream::iter(items))),
        }
    }
}

#[async_trait]
impl EventStore for Scripted {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        self.next(Asked::Append(append)).append
    }

    async fn append_stream(
        &self,
        appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        let this = self.clone();
        if let Some(failure) = this.0.lock().expect("no panic").0.opening.clone() {
            return Err(failure);
        }
        Ok(Box::pin(appends.map(move |tagged| {
            let tag = tagged.tag;
            TaggedAnswer { tag, answer: this.next(Asked::Tagged(tagged)).append }
        })))
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        let script = self.next(Asked::Read(read));
        let pages = script.pages.clone();
        Scripted::open(script, pages)
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        let script = self.next(Asked::ReadMany(read));
        let keyed = script.keyed.clone();
        Scripted::open(script, keyed)
    }

    async fn head(&self, key: Key, freshness: Freshness) -> Result<Option<Head>, Failure> {
        self.next(Asked::Head(key, freshness)).head
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        self.next(Asked::Keys(request)).keys
    }

    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        let script = self.next(Asked::Follow(follow));
        let items = script.items.clone();
        Scripted::open(script, items)
    }

    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        self.next(Asked::Wait(wait)).wait
    }

    async fn status(&self) -> Result<Status, Failure> {
        self.next(Asked::Status).status
    }
}
