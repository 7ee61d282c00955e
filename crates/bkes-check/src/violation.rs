//! What can be wrong with a history, with the evidence, for people to read.

use crate::history::{CallId, ClientId, ContentOf, Event};
use bkes_core::{Key, Offset, Order, Partition, Position};
use bytes::Bytes;
use std::fmt;

/// The promises, by the numbers that documents use, and what a history must be for them to be checked at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Promise {
    /// The history can be checked: values are unique, and there is a content to compare with.
    Checkable = 0,
    /// Each order of a key is acknowledged at most once.
    OneEachOrder = 1,
    /// Every acknowledged event is there: at its order, with its value, in its partition at its offset.
    AcknowledgedStays = 2,
    /// What was refused is never an event.
    RefusedNeverStored = 3,
    /// What was sent is stored at most once, and a batch whole or not at all.
    OnceAndWhole = 4,
    /// Orders have no gaps.
    NoGaps = 5,
    /// Whoever appended at order n had seen exactly the first n events.
    PremiseHeld = 6,
    /// Every read is a part of the one history, and reads of an instance never go back.
    ReadsOneHistory = 7,
    /// A read sees what was acknowledged on its instance before it began, and what lies below the positions that it names.
    ReadsAcknowledged = 8,
    /// All instances, a resumed one, a rebuilt one and the log agree.
    AllAgree = 9,
    /// Nothing is denied, and nothing left out by a latest read, that any instance had acknowledged or shown before, and an id is called taken only where it is.
    RefusalsTrue = 10,
    /// A follower is shown every event once, in the order of decision, and goes on at its positions without missing any.
    FollowedOnce = 11,
}

/// A stream of a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamOf {
    /// Whose.
    pub client: ClientId,
    /// Its place among the follower's streams.
    pub number: usize,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is documented, and its fields say what they are")]
pub enum Violation {
    /// Two calls wrote the same value: neither can be traced.
    ValueNotUnique { value: Bytes, one: CallId, other: CallId },
    /// Two calls that are to be tries of one append ask for something else.
    TriesDiffer { one: CallId, other: CallId },
    /// No content was read at the end: there is nothing to compare calls with.
    NoContent,
    /// Two appends were acknowledged at one order of a key.
    AcknowledgedTwice { key: Key, order: Order, one: CallId, other: CallId },
    /// An append was acknowledged at another order than the one it asked for.
    AcknowledgedAtAnotherOrder { call: CallId, key: Key, asked: Order, told: Order },
    /// The final history has nothing, or something else, at the order of an acknowledged event.
    AcknowledgedLost { call: CallId, key: Key, order: Order, value: Bytes, found: Option<Event> },
    /// An acknowledged event lies elsewhere than its writer was told.
    AcknowledgedElsewhere { call: CallId, key: Key, told: (Partition, Offset), event: Event },
    /// The log does not have an acknowledged event where its writer was told.
    AcknowledgedNotInLog { call: CallId, key: Key, told: (Partition, Offset), found: Option<Bytes> },
    /// Two tries of one append were told of different places.
    AcknowledgedInTwoPlaces { key: Key, one: CallId, other: CallId },
    /// An append that was refused is an event: it had one try, or all were refused, or one was told that its order is taken.
    RefusedStored { call: CallId, key: Key, event: Event },
    /// A value is an event twice.
    StoredTwice { call: CallId, key: Key, one: Event, other: Event },
    /// Two appends are stored under one id.
    IdStoredTwice { key: Key, one: (CallId, Event), other: (CallId, Event) },
    /// A part of a batch is stored, or not in one piece.
    Torn { call: CallId, key: Key, stored: usize, of: usize },
    /// A value is an event of another key than it was written to.
    StoredUnderAnotherKey { call: CallId, key: Key, other: Key, event: Event },
    /// An event that no call and no foreign record wrote.
    WrittenByNobody { key: Key, event: Event },
    /// The orders of a key in a partition have a gap, a repetition, or do not begin where they should.
    Gap { content: ContentOf, key: Key, expected: Order, event: Event },
    /// The offsets of a key's events do not rise with their orders.
    OffsetsGoBack { content: ContentOf, key: Key, before: Event, event: Event },
    /// An event was stored whose writer had seen something else than the events before it.
    PremiseBroken { call: CallId, key: Key, order: Order, seen: u64 },
    /// An append became an event at another order than the one it asked for.
    StoredAtAnotherOrder { call: CallId, key: Key, asked: Order, event: Event },
    /// A read showed an event that the final history does not have there.
    ReadDiffers { call: CallId, key: Key, shown: Event, expected: Option<Event> },
    /// A read's page is not the one that was asked for.
    ReadBadPage { call: CallId, key: Key, detail: &'static str },
    /// A read showed less than an earlier one on the same instance.
    ReadWentBack { call: CallId, key: Key, shown: u64, earlier: CallId, earlier_shown: u64 },
    /// A read did not show an event that had been acknowledged on its instance before.
    AcknowledgedNotShown { call: CallId, key: Key, shown: u64, append: CallId, order: Order },
    /// A read that was to take in everything below a position did not show an event that lies there.
    PositionNotShown { call: CallId, key: Key, position: (Partition, Position), event: Event },
    /// A read did not show an event that lies below a position which its instance had been waited for to reach. `wait` is the place of
    /// that call among those that waited.
    WaitedNotShown { call: CallId, wait: usize, key: Key, position: (Partition, Position), event: Event },
    /// Positions that a call had been told were said to lie above the end of the log, to one who waited for them.
    WaitDenied { wait: usize, positions: Vec<(Partition, Position)> },
    /// A position that a call had been told was said to lie above the end of the log.
    PositionDenied { call: CallId, positions: Vec<(Partition, Position)> },
    /// Two contents differ.
    ContentsDiffer { key: Key, one: (ContentOf, Option<Event>), other: (ContentOf, Option<Event>) },
    /// The final history has an event that the log does not have there, or not so.
    EventNotInLog { key: Key, event: Event, found: Option<Bytes> },
    /// A foreign record of the log is not an event.
    ForeignMissing { key: Key, partition: Partition, offset: Offset },
    /// A refusal said that a key has no events from an order on, after a call to any instance had been told of them.
    KnownDenied { call: CallId, key: Key, next: Order, earlier: CallId, known: u64 },
    /// A refusal said that another append has the id, and there is none where it was said to be.
    IdNotTaken { call: CallId, key: Key, first: Order, found: Option<Event> },
    /// A follower was shown another event than the next one.
    FollowedAnother { stream: StreamOf, shown: Box<(Key, Event)>, expected: Option<(Key, Event)> },
    /// A follower was not shown an event that lies below a position, when it was told that all there is shown.
    FollowedMissing { stream: StreamOf, position: (Partition, Position), event: Box<(Key, Event)> },
    /// A follower was told a position below what it had been shown: it would be shown it again.
    FollowedAhead { stream: StreamOf, position: (Partition, Position), event: Box<(Key, Event)> },
    /// A follower was shown some events of an append without those that come next of it.
    FollowedTorn { stream: StreamOf, shown: Box<(Key, Event)>, rest: Box<(Key, Event)> },
    /// A follower that begins now was to be shown what somebody had been told of before.
    FollowedBefore { stream: StreamOf, shown: Box<(Key, Event)>, append: CallId },
    /// Positions that a follower had been told were said to lie outside of the log.
    FollowDenied { stream: StreamOf, positions: Vec<(Partition, Position)> },
}

impl Violation {
    /// Which promise it breaks.
    pub fn promise(&self) -> Promise {
        match self {
            Violation::ValueNotUnique { .. } | Violation::TriesDiffer { .. } | Violation::NoContent => {
                Promise::Checkable
            }
            Violation::AcknowledgedTwice { .. } => Promise::OneEachOrder,
            Violation::AcknowledgedAtAnotherOrder { .. }
            | Violation::AcknowledgedLost { .. }
            | Violation::AcknowledgedElsewhere { .. }
            | Violation::AcknowledgedInTwoPlaces { .. }
            | Violation::AcknowledgedNotInLog { .. } => Promise::AcknowledgedStays,
            Violation::RefusedStored { .. } => Promise::RefusedNeverStored,
            Violation::StoredTwice { .. }
            | Violation::IdStoredTwice { .. }
            | Violation::Torn { .. }
            | Violation::StoredUnderAnotherKey { .. }
            | Violation::WrittenByNobody { .. } => Promise::OnceAndWhole,
            Violation::Gap { .. } | Violation::OffsetsGoBack { .. } => Promise::NoGaps,
            Violation::PremiseBroken { .. } | Violation::StoredAtAnotherOrder { .. } => Promise::PremiseHeld,
            Violation::ReadDiffers { .. }
            | Violation::ReadBadPage { .. }
            | Violation::ReadWentBack { .. } => Promise::ReadsOneHistory,
            Violation::AcknowledgedNotShown { .. }
            | Violation::PositionNotShown { .. }
            | Violation::WaitedNotShown { .. } => Promise::ReadsAcknowledged,
            Violation::ContentsDiffer { .. }
            | Violation::EventNotInLog { .. }
            | Violation::ForeignMissing { .. } => Promise::AllAgree,
            Violation::KnownDenied { .. }
            | Violation::PositionDenied { .. }
            | Violation::WaitDenied { .. }
            | Violation::IdNotTaken { .. }
            | Violation::FollowDenied { .. } => Promise::RefusalsTrue,
            Violation::FollowedAnother { .. }
            | Violation::FollowedMissing { .. }
            | Violation::FollowedAhead { .. }
            | Violation::FollowedTorn { .. }
            | Violation::FollowedBefore { .. } => Promise::FollowedOnce,
        }
    }
}

impl fmt::Display for Violation {
    #[expect(clippy::too_many_lines, reason = "a sentence for each violation")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) ", self.promise() as u8)?;
        match self {
            Violation::ValueNotUnique { value, one, other } => {
                write!(f, "{one} and {other} both write {}", Value(value))
            }
            Violation::TriesDiffer { one, other } => {
                write!(f, "{one} and {other} have one id and the same values, and ask for something else")
            }
            Violation::NoContent => f.write_str("no content was read at the end"),
            Violation::AcknowledgedTwice { key, order, one, other } => {
                write!(f, "{key}: order {order} was acknowledged to {one} and to {other}")
            }
            Violation::AcknowledgedAtAnotherOrder { call, key, asked, told } => {
                write!(f, "{key}: {call} asked for order {asked} and was acknowledged at {told}")
            }
            Violation::AcknowledgedLost { call, key, order, value, found } => {
                let value = Value(value);
                write!(
                    f,
                    "{key}: {call} was acknowledged {value} at order {order}; there is {}",
                    Maybe(found)
                )
            }
            Violation::AcknowledgedElsewhere { call, key, told: (partition, offset), event } => {
                write!(f, "{key}: {call} was told {partition}/{offset}; its event is {event}")
            }
            Violation::AcknowledgedNotInLog { call, key, told: (partition, offset), found } => {
                write!(f, "{key}: {call} was told {partition}/{offset}; the log has {} there", Found(found))
            }
            Violation::AcknowledgedInTwoPlaces { key, one, other } => {
                write!(f, "{key}: {one} and {other} are tries of one append and were told of two places")
            }
            Violation::RefusedStored { call, key, event } => {
                write!(f, "{key}: {call} was refused and is {event}")
            }
            Violation::StoredTwice { call, key, one, other } => {
                write!(f, "{key}: {call} is stored twice: {one} and {other}")
            }
            Violation::IdStoredTwice { key, one: (one, first), other: (other, second) } => {
                write!(f, "{key}: {one} and {other} have one id and both are stored: {first} and {second}")
            }
            Violation::Torn { call, key, stored, of } => {
                write!(f, "{key}: of the {of} events of {call}, {stored} are stored, not all in one piece")
            }
            Violation::StoredUnderAnotherKey { call, key, other, event } => {
                write!(f, "{key}: {call} is stored under {other}: {event}")
            }
            Violation::WrittenByNobody { key, event } => write!(f, "{key}: nobody wrote {event}"),
            Violation::Gap { content, key, expected, event } => {
                write!(f, "{key}: {content} has {event} where order {expected} belongs")
            }
            Violation::OffsetsGoBack { content, key, before, event } => {
                write!(f, "{key}: {content} has {event} behind {before}")
            }
            Violation::PremiseBroken { call, key, order, seen } => write!(
                f,
                "{key}: {call} is stored at order {order}, and the {seen} events that its writer had seen are not the \
                 ones before it"
            ),
            Violation::StoredAtAnotherOrder { call, key, asked, event } => {
                write!(f, "{key}: {call} asked for order {asked} and is {event}")
            }
            Violation::ReadDiffers { call, key, shown, expected } => {
                write!(f, "{key}: {call} was shown {shown}; there is {}", Maybe(expected))
            }
            Violation::ReadBadPage { call, key, detail } => write!(f, "{key}: {call}: {detail}"),
            Violation::ReadWentBack { call, key, shown, earlier, earlier_shown } => write!(
                f,
                "{key}: {call} was shown {shown} events, after {earlier} had been shown {earlier_shown} by the same \
                 instance"
            ),
            Violation::AcknowledgedNotShown { call, key, shown, append, order } => write!(
                f,
                "{key}: {call} was shown {shown} events, after {append} had been acknowledged order {order} by the same \
                 instance"
            ),
            Violation::PositionNotShown { call, key, position: (partition, position), event } => {
                write!(f, "{key}: {call} was to take in {partition}/{position} and did not show {event}")
            }
            Violation::WaitedNotShown { call, wait, key, position: (partition, position), event } => write!(
                f,
                "{key}: {call} did not show {event}, after its instance had said to wait {wait} that it has applied \
                 {partition}/{position}"
            ),
            Violation::WaitDenied { wait, positions } => {
                write!(f, "wait {wait} was told that the log ends below one of{}", All(positions))
            }
            Violation::PositionDenied { call, positions } => {
                write!(f, "{call} was told that the log ends below one of{}", All(positions))
            }
            Violation::ContentsDiffer { key, one, other } => {
                let ((one, left), (other, right)) = (one, other);
                write!(f, "{key}: {one} has {}; {other} has {}", Maybe(left), Maybe(right))
            }
            Violation::EventNotInLog { key, event, found } => {
                write!(f, "{key}: {event} is an event, and the log has {} there", Found(found))
            }
            Violation::ForeignMissing { key, partition, offset } => {
                write!(f, "{key}: the foreign record at {partition}/{offset} is no event")
            }
            Violation::KnownDenied { call, key, next, earlier, known } => {
                write!(
                    f,
                    "{key}: {call} was told that order {next} is the next one, after {earlier} had been told of {known} events"
                )
            }
            Violation::IdNotTaken { call, key, first, found } => {
                write!(
                    f,
                    "{key}: {call} was told that another append has its id at order {first}; there is {}",
                    Maybe(found)
                )
            }
            Violation::FollowedAnother { stream, shown, expected } => {
                write!(f, "{stream} was shown {}; next is ", Of(shown))?;
                match expected {
                    Some(expected) => Of(expected).fmt(f),
                    None => f.write_str("nothing"),
                }
            }
            Violation::FollowedMissing { stream, position: (partition, position), event } => {
                let event = Of(event);
                write!(
                    f,
                    "{stream} was not shown {event}, when all below {partition}/{position} was to be shown"
                )
            }
            Violation::FollowedAhead { stream, position: (partition, position), event } => {
                write!(f, "{stream} was told {partition}/{position}, after {}", Of(event))
            }
            Violation::FollowedTorn { stream, shown, rest } => {
                write!(
                    f,
                    "{stream} was shown {} without {}, which is of the same append",
                    Of(shown),
                    Of(rest)
                )
            }
            Violation::FollowedBefore { stream, shown, append } => {
                write!(
                    f,
                    "{stream} begins now, at or before {}, and {append} had been told before",
                    Of(shown)
                )
            }
            Violation::FollowDenied { stream, positions } => {
                write!(f, "{stream} was told that the log does not reach to one of{}", All(positions))
            }
        }
    }
}

impl fmt::Display for StreamOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of follower {}", self.number, self.client.0)
    }
}

/// An event with its key.
struct Of<'a>(&'a (Key, Event));

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, event) = self.0;
        write!(f, "{key}: {event}")
    }
}

/// Positions.
pub struct All<'a>(pub &'a [(Partition, Position)]);

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(partition, position)| write!(f, " {partition}/{position}"))
    }
}

/// A value, cut short.
struct Value<'a>(&'a Bytes);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0[..self.0.len().min(64)].escape_ascii())
    }
}

struct Maybe<'a>(&'a Option<Event>);

impl fmt::Display for Maybe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(event) => event.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// What lies in the log: another value, or no record of this key.
struct Found<'a>(&'a Option<Bytes>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => Value(value).fmt(f),
            None => f.write_str("nothing of it"),
        }
    }
}
