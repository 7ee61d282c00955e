//! Followers: each is killed again and again, goes on at the positions that it was told, on any instance, and keeps all that it was shown.

use crate::coverage::Deed;
use crate::limits::ANSWER_MAX;
use crate::load::Scene;
use crate::store_client::Common;
use crate::v2;
use bkes_api::{EventStore, Follow, FollowFrom, FollowItem, Positions, Reason};
use bkes_check::{ClientId, FollowStream, Followed, FollowedFrom, FollowedItem, InstanceId};
use bkes_client::Client;
use bkes_core::{Key, Partition, Position};
use bytes::Bytes;
use fastrand::Rng;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_stream::StreamExt;

/// Where everything ends, once that is known: each follower goes on until it is there.
pub type Ends = watch::Receiver<Option<Vec<(Partition, Position)>>>;

/// One follower.
pub struct Follower {
    id: ClientId,
    random: Rng,
    scene: Scene,
    common: Common,
    doors: Vec<(InstanceId, Client)>,
    at: usize,
    followed: Followed,
    begins_now: bool,
    told: Option<Positions>,
    streams: Vec<FollowStream>,
}

/// Whom the followers of a run follow, and whether they begin with what comes.
pub fn followed() -> Vec<(Followed, bool)> {
    let hot = Key::new("hot-0").expect("a name is not empty");
    vec![
        (Followed::All, false),
        (Followed::All, true),
        (Followed::Prefix(Bytes::from_static(b"hot-")), false),
        (Followed::Key(hot), false),
        (Followed::Partitions(vec![Partition(0)]), false),
    ]
}

impl Follower {
    /// A follower that was shown nothing yet.
    pub fn new(
        number: u32,
        random: Rng,
        (scene, common): (Scene, Common),
        (followed, begins_now): (Followed, bool),
    ) -> anyhow::Result<Follower> {
        let servers = scene.instances.iter().filter(|instance| v2::speaks(instance));
        let door = |instance: &crate::instance::Instance| Ok((instance.id, v2::once(instance)?));
        let doors = servers.map(door).collect::<anyhow::Result<Vec<_>>>()?;
        let (id, at) = (ClientId(number), number as usize % doors.len());
        let (told, streams) = (None, Vec::new());
        Ok(Follower { id, random, scene, common, doors, at, followed, begins_now, told, streams })
    }

    /// Follows until it has come to the ends, or for so long after those are known; an error if it has not come there.
    pub async fn run(mut self, ends: Ends, patience: Duration) -> (bkes_check::Follower, anyhow::Result<()>) {
        let mut known_since = None;
        let came = loop {
            if self.is_at(&ends) {
                break Ok(());
            }
            if ends.borrow().is_some() {
                let since = *known_since.get_or_insert_with(Instant::now);
                if since.elapsed() > patience {
                    let told = self.told.as_ref().map(|told| &told.of);
                    break Err(anyhow::anyhow!(
                        "follower {} of {:?} has come to {told:?} {patience:?} after the last fault, and not to {:?}",
                        self.id.0,
                        self.followed,
                        *ends.borrow()
                    ));
                }
            }
            self.follow(&ends).await;
            let before = self.at;
            if self.random.bool() {
                self.at = self.random.usize(..self.doors.len());
            }
            if self.told.is_some() {
                let is_elsewhere = self.at != before;
                self.common.coverage.count(if is_elsewhere {
                    Deed::FollowedElsewhere
                } else {
                    Deed::FollowedOn
                });
            }
            tokio::time::sleep(Duration::from_millis(self.random.u64(..300))).await;
        };
        let Follower { id: client, followed, streams, .. } = self;
        (bkes_check::Follower { client, followed, streams }, came)
    }

    /// Whether everything was shown, up to the ends.
    fn is_at(&self, ends: &Ends) -> bool {
        let (ends, Some(told)) = (ends.borrow(), &self.told) else { return false };
        let is_followed = |partition: &Partition| match &self.followed {
            Followed::Partitions(some) => some.contains(partition),
            Followed::All | Followed::Prefix(_) | Followed::Key(_) => true,
        };
        let is_there = |(partition, end): &(Partition, Position)| {
            !is_followed(partition) || told.get(*partition).is_some_and(|position| position >= *end)
        };
        ends.as_ref().is_some_and(|ends| ends.iter().all(is_there))
    }

    /// One stream, for a while.
    async fn follow(&mut self, ends: &Ends) {
        let (instance, door) = self.doors[self.at].clone();
        let (from, begins) = match (&self.told, self.begins_now) {
            (Some(told), _) => {
                (FollowFrom::Positions(told.clone()), FollowedFrom::Positions(told.of.clone()))
            }
            (None, false) => (FollowFrom::Beginning, FollowedFrom::Positions(Vec::new())),
            (None, true) => (FollowFrom::Now, FollowedFrom::Now),
        };
        let begin = self.scene.recorder.now();
        let follow = Follow { followed: self.wanted(), from, with_headers: self.random.bool() };
        let opened = tokio::time::timeout(ANSWER_MAX, door.follow(follow)).await;
        let mut stream = FollowStream {
            instance,
            begin,
            opened: None,
            from: begins,
            items: Vec::new(),
            is_out_of_range: false,
        };
        match opened {
            Ok(Ok(items)) => {
                stream.opened = Some(self.scene.recorder.now());
                self.take(items, &mut stream, ends).await;
            }
            Ok(Err(failure)) => stream.is_out_of_range = failure.reason == Reason::OutOfRange,
            Err(_) => {}
        }
        self.streams.push(stream);
    }

    /// Takes items until the stream ends or the follower is killed. Some followers are slow.
    async fn take(
        &mut self,
        mut items: bkes_api::BoxStream<Result<FollowItem, bkes_api::Failure>>,
        stream: &mut FollowStream,
        ends: &Ends,
    ) {
        let until = tokio::time::Instant::now() + Duration::from_millis(self.random.u64(100..6_000));
        let is_slow = self.random.u8(..4) == 0;
        while let Ok(item) = tokio::time::timeout_at(until, items.next()).await {
            match item {
                Some(Ok(item)) => {
                    if let FollowItem::Positions(positions) = &item {
                        self.told.get_or_insert_default().advance(positions);
                    }
                    stream.items.push(shown(item));
                }
                Some(Err(failure)) => {
                    stream.is_out_of_range = failure.reason == Reason::OutOfRange;
                    self.common.coverage.count(Deed::FollowEnded);
                    return;
                }
                None => return,
            }
            if self.is_at(ends) {
                return;
            }
            if is_slow {
                tokio::time::sleep(Duration::from_millis(self.random.u64(..200))).await;
            }
        }
    }

    fn wanted(&self) -> bkes_api::Followed {
        match &self.followed {
            Followed::All => bkes_api::Followed::All,
            Followed::Prefix(prefix) => bkes_api::Followed::Prefix(prefix.clone()),
            Followed::Partitions(partitions) => bkes_api::Followed::Partitions(partitions.clone()),
            Followed::Key(key) => bkes_api::Followed::Key(key.clone()),
        }
    }
}

fn shown(item: FollowItem) -> FollowedItem {
    match item {
        FollowItem::Events(events) => {
            FollowedItem::Events(events.into_iter().map(|of| (of.key, v2::event(&of.event))).collect())
        }
        FollowItem::CaughtUp => FollowedItem::CaughtUp,
        FollowItem::FellBehind => FollowedItem::FellBehind,
        FollowItem::Positions(positions) => FollowedItem::Positions(positions.of),
    }
}
