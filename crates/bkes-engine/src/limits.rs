//! Every limit of the engine in one place, with the arithmetic behind its number.

use std::time::Duration;

/// Events that a reader hands over in one poll. 2,048 of 200 bytes are 400 KiB: enough to make the look-ups of one store
/// snapshot worth it, little enough that an append waits under 2 ms for a poll.
pub const POLL_RECORDS_MAX: usize = 2_048;

/// Bytes in one store transaction, as the overlay counts them: 25,000 events of 200 bytes. The store's cost for each event falls little
/// after that, and the memory for two of them rises; reading pauses above it, so that large values do not make a transaction large.
pub const COMMIT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// How long the writer gathers before it commits. The overlay serves reads meanwhile. A transaction of few events costs some 0.7 ms of
/// processor time: fifty in a second take a twelfth of what a lone caller's appends cost the server, ten are not to be seen.
pub const COMMIT_GATHER: Duration = Duration::from_millis(100);

/// Events that end the gathering.
pub const COMMIT_GATHER_EVENTS: usize = 1_000;

/// Bytes that end it, as the overlay counts them: a fifth of what one transaction may have, so that appends of large values never
/// wait for a writer that only gathers.
pub const COMMIT_GATHER_BYTES: usize = COMMIT_BYTES_MAX / 5;

/// How often what was committed is made durable: a kill costs re-reading this much of the log.
pub const SYNC_INTERVAL_MS: u64 = 10_000;

/// The longest an append is held back while others of its partition are in flight: a log that takes longer than this to answer is far away or
/// in trouble, and more requests under way at once help then.
pub const GROUP_MS_MAX: u64 = 20;

/// The longest a small group is gathered while as much is on the way to other partitions. They go together then, in fewer and larger
/// requests; a partition that does not answer costs the others no more than this. A producer of Kafka 4 waits 5 ms, even alone.
pub const GROUP_OTHERS_MS: u64 = 2;

/// A group of so many does not wait for other partitions: it is worth requests of its own. For embedded callers, who are back at
/// once and make large groups, waiting would cost more than it brings.
pub const GROUP_LARGE: usize = 4;

/// Answers in one step that are given at its very end, and after which the owner pauses: so many callers may well ask again at
/// once. Fewer gain less than the pause costs them, and through gRPC, where callers are not back so soon, steps rarely have so many.
pub const PAUSE_ANSWERS: usize = 8;

/// How long it pauses, so that they go to the log together. Of the 1,000 us that the log takes it is little, but enough for callers in
/// the same process: the system makes some 70 us of it. 100 us more gained nothing.
pub const PAUSE: Duration = Duration::from_micros(10);

/// How often the monitor looks at the log, and how much longer than a look took it rests at least.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The monitor rests this many times as long as a look over all partitions took.
pub const LOOK_REST_FACTOR: u32 = 5;

/// The longest the monitor rests. A look that waited for answers took long and cost nothing; resting five times as long after it
/// would leave the instance with what was true then (the log is down, reading lags) for minutes.
pub const LOOK_REST_MAX: Duration = Duration::from_secs(10);

/// How long a stop waits at least for the threads that ask the log: one that has no question under way ends in a few milliseconds.
pub const UNASKED_MAX: Duration = Duration::from_secs(1);

/// How long a refusal may take to be verified, the question to the log and the applying together. A question takes a round trip, and what
/// it tells is usually applied already. A partition that is applied no faster than this is in trouble, and callers of v1 have their
/// own limits below it.
pub const VERIFY_MS_MAX: u64 = 10_000;

/// How long an append may wait for room. A store or a log that makes none for so long is in trouble; who waits longer is better told.
pub const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Callers that may wait for the next question: as many as appends may be admitted. One of them takes some 100 bytes.
pub const VERIFY_WAITING_MAX: usize = 10_000;

/// How long a read that is to be at least as fresh as given positions waits for them: as long as a latest one.
pub const AT_LEAST_MS_MAX: u64 = VERIFY_MS_MAX;

/// The longest that a caller may wait for positions, whatever it asks for: a minute is longer than any consumer that is alive takes to
/// commit, and short enough for proxies that end calls on which nothing moves.
pub const WAIT_FOR_MS_MAX: u64 = 60_000;

/// Callers that may wait for positions. One of them takes some 500 bytes: 5 MB.
pub const POSITION_WAITS_MAX: usize = 10_000;

/// Positions that they may wait for together, 16 bytes each: 16 MB. A hundred for each of them; a topic has rarely more partitions.
pub const WAITED_PLACES_MAX: usize = 1_000_000;

/// Consumer groups that may be waited for at a time: asked twice a second each, they are 200 questions a second of a few milliseconds.
pub const GROUPS_WAITED_MAX: usize = 100;

/// Bytes of a group's name. Kafka takes 32,767, and nobody uses them.
pub const GROUP_NAME_BYTES_MAX: usize = 1_024;

/// Threads that ask groups: a coordinator that does not answer holds up one of them, and leaves the other.
pub const GROUP_ASKERS: usize = 2;

/// The shortest pause between two questions about a group: a consumer commits in a few milliseconds, or in seconds.
pub const GROUP_PAUSE_MS_MIN: u64 = 50;

/// The longest, to which pauses double: who waits learns of a commit half a second after it at the latest.
pub const GROUP_PAUSE_MS_MAX: u64 = 500;

/// How long after a failure a store is reopened, a producer handle made, or a partition read again.
pub const RETRY_MS: u64 = 1_000;

/// How long new partitions rest, once they were seen and read, before keys are placed in them. Every other instance must have seen them by
/// then, or it would begin a key elsewhere: a monitor looks again after 10 s at most, after a look of at most 20 s (three slow
/// questions), and reads what little a new partition holds in a moment; the rest is for clocks and for instances that pause.
pub const PLACING_REST: Duration = Duration::from_secs(60);

/// A read of more events than this runs off the executor: so many warm ones of 200 bytes take some 0.05 ms, which is about what it costs to
/// hand a read to another thread and back.
pub const READ_INLINE_EVENTS: u64 = 256;

/// Events of a split aggregate that are put in the order of their headers: their places take 2.4 MB while a read lasts, and reading
/// all of them some 0.2 s.
pub const SPLIT_EVENTS_MAX: u64 = 100_000;

/// Events that are read together to look at their headers.
pub const SPLIT_PART_EVENTS: usize = 1_000;

/// Their bytes: the last one may pass it.
pub const SPLIT_PART_BYTES: usize = 1024 * 1024;

/// Reads of split aggregates with more than [`READ_INLINE_EVENTS`] that are put in order at once: 8 of 3.4 MB. More wait.
pub const SPLIT_READS_MAX: usize = 8;

/// Bytes that reads off the executor may hold together while they are made; those above wait, in order. 64 reads of 4 MiB at once: more
/// than any disk or processor works on side by side.
pub const READING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a read without a bound of its own counts for: the usual bound of a reply.
pub const READ_BYTES_ASSUMED: usize = 4 * 1024 * 1024;

/// What an event that was read takes beside its value: its fields (152 bytes), and the allocation of its value (two words and a count
/// by the side of it, rounded up by the allocator).
pub const READ_EVENT_BYTES: usize = 152 + 48;

const _: () =
    assert!(size_of::<bkes_storage::StoredEvent>() <= 152, "READ_EVENT_BYTES must say what it says");

/// The same at the least: three numbers of one digit, `1;`, 16 digits of the name, three `;`, 8 digits of the sum.
pub const MARKER_BYTES_MIN: u64 = 5 + 4 + 3 + 2 + 16 + 3 + 8;

/// The bytes an event counts for beside its value in the overlay: key, map entry, bookkeeping.
pub const EVENT_OVERHEAD_BYTES: usize = 200;

/// What a listed key counts for beside its bytes while the list is made: its fields in the list (80 bytes), in the pages of the
/// overlay and of the store that the list is merged from (100 each), and in the tree of each.
pub const LISTED_KEY_BYTES: usize = 400;

/// How often an aggregate is looked for in one call when a fold begins anew meanwhile. That happens once in months, and twice within a
/// look-up never.
pub const LOCATE_TRIES: usize = 3;

/// While there is more to commit, what dropped partitions left behind is swept this often: some 10 ms of work each.
pub const SWEEP_INTERVAL_MS: u64 = 1_000;

/// Of the time that a caller gives its append, one part in so many is left for storing it when it has waited for room: 125 ms of a second.
pub const ROOM_RESERVE: u32 = 8;

/// After what passes by itself in a moment (a full queue, an append that was not stored), a caller rests so long: some hundred appends
/// are decided in that time.
pub const RETRY_SOON: Duration = Duration::from_millis(100);

/// After what takes longer (a log that is away, a store that is opened anew, records that are not read yet): as often as the engine
/// looks at these itself.
pub const RETRY_LATER: Duration = LOOK_INTERVAL;

/// Bytes of values and headers in a page of a read, each header with what it takes in memory, one larger event aside. It is made in some
/// 2 ms, and a reader that takes its pages slowly holds no more.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Events in a page. With what they take beside their content ([`READ_EVENT_BYTES`]) so many small ones are 0.4 MB.
pub const PAGE_EVENTS_MAX: usize = 2_048;

/// Events in the first pages of a read. They are read on the spot where they are at hand, and are on their way while the next ones are read:
/// a thousand events are there a fifth sooner than in pages that double, for a fifth less work, since none goes to another thread and
/// back.
pub const FIRST_PAGES_EVENTS_MAX: usize = READ_INLINE_EVENTS as usize;

/// So many events are shown in such pages; each page after that has twice as many as the one before, up to [`PAGE_EVENTS_MAX`]. Whoever
/// reads more than this wants many, and fewer pages cost less.
pub const FIRST_PAGES_EVENTS: usize = 4 * FIRST_PAGES_EVENTS_MAX;

/// Outlines that are looked at together where an aggregate is searched for a moment: 0.4 MB, some 4 ms.
pub const OUTLINES_MAX: usize = 4_096;

/// Aggregates that one call may read: their keys are held while it lasts, 1 MB with keys of 1 KB.
pub const READ_KEYS_MAX: usize = 1_000;

/// Appends of one stream that are worked on at once: four times what it takes to keep a log busy that answers after a millisecond. It is a
/// tenth of what the engine admits by default, so that one stream does not take all of that.
pub const STREAM_APPENDS_MAX: usize = 1_024;

/// Their bytes, one append more aside: the largest append there is, and an eighth of what the engine admits by default.
pub const STREAM_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Keys of one stream whose last append was not stored, as far as they are kept apart: 8 bytes each, 1 MB with the table they are in.
pub const STREAM_FAILED_KEYS_MAX: usize = 65_536;

/// Those who may follow the log at once. Each may have a reader of the log, with threads and buffers of its own, while it reads the past.
pub const FOLLOWERS_MAX: usize = 64;

/// Bytes of what was decided last that are kept for those who follow, unless it is set, over all partitions: at 50,000 events a second of 200 bytes, which
/// count for 400 each, 1.6 s in which one who follows may do something else.
pub const FEED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Events in one message to one who follows; more only for an append that has more.
pub const FOLLOW_GROUP_EVENTS: usize = 256;

/// Bytes of keys, values and headers in one message to one who follows, but for its last append.
pub const FOLLOW_GROUP_BYTES: usize = 256 * 1024;

/// Events that wait to be taken by one who follows: with what they take beside their content ([`READ_EVENT_BYTES`], and a key) so many small
/// ones are 0.5 MB.
pub const FOLLOW_UNTAKEN_EVENTS: usize = 2_048;

/// Records of the past that are judged together: as many as make the look-ups of one snapshot worth it.
pub const FOLLOW_BLOCK_RECORDS: usize = 2_048;

/// Bytes of keys, values and headers that end such a block, but for one poll. With it one who follows holds 2 MiB, and one append of 16 MiB at most.
pub const FOLLOW_BLOCK_BYTES: usize = 1024 * 1024;

/// Records that are taken from the reader at once, so that the bytes are counted in between.
pub const FOLLOW_POLL_RECORDS: usize = 64;

/// How often one who follows is told its positions while they change.
pub const FOLLOW_POSITIONS_MS: u64 = 1_000;
