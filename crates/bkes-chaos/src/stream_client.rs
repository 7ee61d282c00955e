//! A client that appends by streams: many appends at a time, of which each of a key rests on the one before it, or stands alone.

use crate::coverage::Deed;
use crate::limits::{ANSWER_MAX, APPEND_MAX};
use crate::load::Scene;
use crate::named::{contents, expected_of};
use crate::store_client::{Common, asked};
use crate::v2;
use bkes_api::{Append, AppendFailure, Appended, EventStore, Reason, TaggedAnswer, TaggedAppend};
use bkes_check::{
    AppendCall, AppendOutcome, Call, ClientId, Expecting, Fresh, InstanceId, Operation, Premise, ReadOutcome,
    TryOf, View,
};
use bkes_client::Client;
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::{Key, Order};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_stream::StreamExt;

/// Aggregates of one stream. The appends of the last one take any order and stand alone.
const KEYS: usize = 3;

/// One client.
pub struct StreamClient {
    id: ClientId,
    random: Rng,
    scene: Scene,
    common: Common,
    doors: Vec<(InstanceId, Client)>,
    seen: HashMap<Key, Premise>,
    written: u64,
}

/// Appends that were sent and not answered, by their tags.
type Sent = BTreeMap<u64, (Key, AppendCall)>;

impl StreamClient {
    /// A client that knows nothing.
    pub fn new(number: u32, random: Rng, scene: Scene, common: Common) -> anyhow::Result<StreamClient> {
        let servers = scene.instances.iter().filter(|instance| v2::speaks(instance));
        let door = |instance: &crate::instance::Instance| Ok((instance.id, v2::once(instance)?));
        let doors = servers.map(door).collect::<anyhow::Result<Vec<_>>>()?;
        let (id, seen) = (ClientId(number), HashMap::new());
        Ok(StreamClient { id, random, scene, common, doors, seen, written: 0 })
    }

    /// Makes streams until told to stop; the last one runs to its end.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Acquire) {
            let at = self.random.usize(..self.doors.len());
            let keys: Vec<Key> = (0..KEYS).map(|_| self.scene.keys.pick(&mut self.random)).collect();
            for key in &keys {
                self.read_on(at, key).await;
            }
            self.stream(at, &keys).await;
            tokio::time::sleep(Duration::from_millis(self.random.u64(..300))).await;
        }
    }

    async fn read_on(&mut self, at: usize, key: &Key) {
        let seen = self.seen.get(key).copied().unwrap_or_default();
        let mut read = asked(Order(seen.count), Some(500), View::Now, Fresh::Local);
        let begin = self.scene.recorder.now();
        read.outcome = v2::read(&self.doors[at].1, key, None, &read).await;
        if let ReadOutcome::Events { events, .. } = &read.outcome {
            let all = events.iter().fold(seen, |seen, event| seen.and(&event.value));
            self.seen.insert(key.clone(), all);
        }
        let is_answered = read.outcome != ReadOutcome::Unanswered;
        self.keep((at, key, begin), Operation::Read(read), is_answered);
    }

    fn keep(&self, (at, key, begin): (usize, &Key, u64), operation: Operation, is_answered: bool) {
        let end = is_answered.then(|| self.scene.recorder.now());
        let (instance, key) = (self.doors[at].0, key.clone());
        self.scene.recorder.keep(Call { client: self.id, instance, key, begin, end, operation });
    }

    /// One stream, to its end.
    async fn stream(&mut self, at: usize, keys: &[Key]) {
        let (appends, mut sent) = self.appends(keys);
        let begin = self.scene.recorder.now();
        let answers = async {
            let door = self.doors[at].1.clone();
            door.append_stream(Box::pin(tokio_stream::iter(appends))).await
        };
        let mut answers = match tokio::time::timeout(ANSWER_MAX, answers).await {
            Ok(Ok(answers)) => answers,
            // The client takes no append before the server has taken the call: nothing was sent.
            Ok(Err(_)) => return self.ended(at, begin, sent, AppendOutcome::Unavailable),
            Err(_) => return self.ended(at, begin, sent, AppendOutcome::Unanswered),
        };
        let until = tokio::time::Instant::now() + 2 * ANSWER_MAX;
        let mut is_broken = false;
        while let Ok(Some(TaggedAnswer { tag, answer })) =
            tokio::time::timeout_at(until, answers.next()).await
        {
            let Some((key, mut call)) = sent.remove(&tag) else { continue };
            call.outcome = v2::outcome_of_try(&answer);
            match &answer {
                Ok(appended) => self.stored(&key, &call, appended),
                Err(AppendFailure::NotStored(failure)) if failure.reason == Reason::PredecessorFailed => {
                    self.common.coverage.count(Deed::PredecessorFailed);
                }
                Err(failure) => is_broken |= failure.reason() == Reason::AnswerLost,
            }
            let is_answered = call.outcome != AppendOutcome::Unanswered;
            self.keep((at, &key, begin), Operation::Append(call), is_answered);
        }
        if is_broken || !sent.is_empty() {
            self.common.coverage.count(Deed::StreamBroken);
        }
        self.ended(at, begin, sent, AppendOutcome::Unanswered);
    }

    /// What has no answer of its own.
    fn ended(&self, at: usize, begin: u64, sent: Sent, outcome: AppendOutcome) {
        for (key, call) in sent.into_values() {
            let call = AppendCall { outcome, ..call };
            self.keep((at, &key, begin), Operation::Append(call), outcome != AppendOutcome::Unanswered);
        }
    }

    fn stored(&mut self, key: &Key, call: &AppendCall, appended: &Appended) {
        self.common.coverage.count(Deed::StoredInStream);
        self.common.told.stored(key, appended);
        let known = self.seen.get(key).copied().unwrap_or_default();
        if appended.first == Order(call.premise.count) && call.premise.count >= known.count {
            let after = call.values.iter().fold(call.premise, |seen, value| seen.and(value));
            self.seen.insert(key.clone(), after);
        }
    }

    /// The appends of a stream, as they are sent and as the checker knows them. Each that names an order rests on the one before it.
    fn appends(&mut self, keys: &[Key]) -> (Vec<TaggedAppend>, Sent) {
        let (mut appends, mut sent) = (Vec::new(), Sent::new());
        let mut chains: HashMap<Key, Premise> = HashMap::new();
        for tag in 0..self.random.u64(5..80) {
            let which = self.random.usize(..keys.len());
            let key = &keys[which];
            let stands_alone = which + 1 == keys.len() || !chains.contains_key(key) && self.random.bool();
            let known = self.seen.get(key).copied().unwrap_or_default();
            let premise = if stands_alone { known } else { chains.get(key).copied().unwrap_or(known) };
            let expected = match premise.count {
                _ if which + 1 == keys.len() => Expecting::Any,
                0 => Expecting::New,
                count => Expecting::At(Order(count)),
            };
            let values: Vec<Bytes> = (0..self.random.u8(1..4)).map(|_| self.value()).collect();
            chains.insert(key.clone(), values.iter().fold(premise, |seen, value| seen.and(value)));
            let id = Bytes::from(format!("c{}.{}", self.id.0, self.written));
            let has_id = expected == Expecting::Any || self.random.bool();
            let append = Append::new(key.clone(), expected_of(expected)).events(contents(&values));
            let identity = has_id.then(|| Identity {
                id: AppendId::new(id.clone()).expect("an id of a test is short"),
                is_first: true,
                seen: None,
            });
            let append = Append { identity, ..append }.within(APPEND_MAX);
            appends.push(TaggedAppend { tag, append, stands_alone });
            let identity = has_id.then_some(TryOf { id, is_first: true, seen: None });
            let outcome = AppendOutcome::Unanswered;
            sent.insert(tag, (key.clone(), AppendCall { expected, values, premise, identity, outcome }));
        }
        (appends, sent)
    }

    /// A value that nobody else has.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        let mut value = format!("t{}-{} ", self.id.0, self.written);
        value.extend(std::iter::repeat_n('.', self.random.usize(..100)));
        Bytes::from(value)
    }
}
