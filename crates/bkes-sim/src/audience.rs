//! Those who follow and those who wait, in a run: when each goes on, and where all followers come to at the end.

use crate::Finding;
use crate::follower::Served;
use crate::instance::Instance;
use crate::world::Simulation;
use bkes_check::InstanceId;
use bkes_core::{Partition, Position};
use bkes_log::Log;

/// How often followers are told how far everything is shown.
const FOLLOW_POSITIONS_MS: u64 = 1_000;

impl Simulation {
    pub(crate) fn let_somebody_follow(&mut self) {
        if self.world.followers.is_empty() || self.following.u32(..3) > 0 {
            return;
        }
        let served = self.served();
        if let Some(mut follower) = self.world.followers.one(self.following.usize(..)) {
            follower.go_on(self.world.around(), &served);
        }
    }

    pub(crate) fn let_somebody_wait(&mut self) {
        let Some(waiter) = &mut self.waiter else { return };
        let rests = if waiter.at().is_some() { 4 } else { 60 };
        if self.following.u32(..rests) > 0 {
            return;
        }
        let instance = &self.instances[self.following.usize(..self.instances.len())];
        let asked = instance.life.as_ref().map(|life| (instance.id, life.stage.handle()));
        waiter.go_on(&self.world, asked);
    }

    /// Those whose instance is gone learn that it is.
    pub(crate) fn lose_audience(&mut self) {
        let is_gone = |(instance, began): (InstanceId, u64)| {
            let life = self.instances.iter().find(|of| of.id == instance).and_then(|of| of.life.as_ref());
            life.is_none_or(|life| life.started_at > began)
        };
        for mut follower in self.world.followers.iter() {
            if follower.at().is_some_and(is_gone) {
                follower.lose(self.world.around());
            }
        }
        if let Some(waiter) = self.waiter.as_mut().filter(|waiter| waiter.at().is_some_and(is_gone)) {
            waiter.lose(&self.world);
        }
    }

    /// Nobody waits any more.
    pub(crate) fn lose_waiter(&mut self) {
        if let Some(waiter) = &mut self.waiter {
            waiter.lose(&self.world);
        }
    }

    /// Every follower is shown everything, once all is at rest.
    pub(crate) fn follow_to_the_end(&mut self) {
        let all_up = |simulation: &Simulation| simulation.instances.iter().all(|of| simulation.is_up(of));
        if self.world.followers.is_empty() || !all_up(self) {
            return;
        }
        // Positions that change are told once a second.
        let mut due = self.world.now();
        let came = self.live_until(|simulation| {
            if due <= simulation.world.now() {
                simulation.advance(FOLLOW_POSITIONS_MS);
                due = simulation.world.now() + FOLLOW_POSITIONS_MS;
            }
            let ends = simulation.ends();
            simulation.world.followers.iter().all(|follower| follower.is_at(&ends))
        });
        if came {
            return;
        }
        let ends = self.ends();
        let mut behind = self.world.followers.iter().filter(|follower| !follower.is_at(&ends));
        let behind = behind.next().map(|follower| format!("{} of {ends:?}", follower.describe()));
        self.findings.extend(behind.map(|detail| Finding::FollowsNot { detail }));
    }

    /// Where the partitions end.
    fn ends(&self) -> Vec<(Partition, Position)> {
        let of = |partition| Some((partition, self.world.log.watermarks(partition).ok()?.high));
        (0..self.world.log.partitions()).map(Partition).filter_map(of).collect()
    }

    pub(crate) fn have_followers_catch_up(&self) {
        if self.world.followers.is_empty() {
            return;
        }
        let served = self.served();
        for mut follower in self.world.followers.iter() {
            follower.catch_up(self.world.around(), &served);
        }
    }

    /// The instances that can be asked.
    fn served(&self) -> Vec<Served> {
        let of = |instance: &Instance| {
            let life = instance.life.as_ref()?;
            Some(Served { instance: instance.id, handle: life.stage.handle() })
        };
        self.instances.iter().filter_map(of).collect()
    }
}
