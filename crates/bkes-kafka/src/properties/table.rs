//! Every property that librdkafka documents, and what BKES does with it. A test holds the names, sides, kinds and aliases against
//! librdkafka's own list, and the page of the operating guide against this.

use super::row::{Row, Side};
use Side::{Both, Reading, Writing};

const CALLBACK: &str = "it is set by the program that uses librdkafka, and is no text";
const POSITIONS: &str = "positions are kept in the store, with the events they cover";
const NO_GROUP: &str = "BKES joins no group, so it has no effect";
const ASSIGNED: &str = "partitions are assigned by BKES itself";
const DROPPED: &str = "librdkafka no longer uses it";
const KERBEROS: &str = "no build of BKES has Kerberos (GSSAPI): use SCRAM, PLAIN or OAUTHBEARER";
const QUEUE: &str = "what waits is bounded by --max-in-flight, and by BKES's own bound of bytes";
const TRUE: &[&str] = &["true", "t", "1"];
const FALSE: &[&str] = &["false", "f", "0"];

/// In the order in which librdkafka lists them.
pub static TABLE: &[Row] = &[
    Row::word(Both, "builtin.features").refused("it tells what the build has, and is not to be set"),
    Row::text(Both, "client.id").set("bkes", "the name in the logs and quotas of brokers").shown(),
    Row::text(Both, "metadata.broker.list").refused("use KAFKA_BROKERS"),
    Row::alias("bootstrap.servers", "metadata.broker.list"),
    Row::word(Both, "message.max.bytes").refused("it is set to what the topic takes: its max.message.bytes"),
    Row::word(Both, "message.copy.max.bytes"),
    Row::word(Both, "receive.message.max.bytes").set(
        "1000 times the topic's max.message.bytes, 100000000 to 2147483647",
        "no batch that the topic takes is too large to be read; less than one of them is refused",
    ),
    Row::word(Both, "max.in.flight.requests.per.connection").within(
        1,
        5,
        "more requests in flight lose their order when one is retried",
    ),
    Row::alias("max.in.flight", "max.in.flight.requests.per.connection"),
    Row::word(Both, "metadata.recovery.strategy"),
    Row::word(Both, "metadata.recovery.rebootstrap.trigger.ms"),
    Row::word(Both, "topic.metadata.refresh.interval.ms")
        .set("5000", "by librdkafka's default new partitions are refused for five minutes")
        .within(1_000, 300_000, "without it new partitions are never known"),
    Row::word(Both, "metadata.max.age.ms").within(
        15_000,
        86_400_000,
        "a topic whose metadata ages before they are refreshed is unknown",
    ),
    Row::word(Both, "topic.metadata.refresh.fast.interval.ms"),
    Row::word(Both, "topic.metadata.refresh.fast.cnt").note(DROPPED),
    Row::word(Both, "topic.metadata.refresh.sparse"),
    Row::word(Both, "topic.metadata.propagation.max.ms"),
    Row::text(Both, "topic.blacklist").refused("it can hide the topic"),
    Row::word(Both, "debug").note("the lines are logged at the level `debug`, for the module `librdkafka`"),
    Row::word(Both, "socket.timeout.ms").within(
        2_000,
        300_000,
        "requests that are given up before a broker can answer never succeed",
    ),
    Row::word(Both, "socket.blocking.max.ms").note(DROPPED),
    Row::word(Both, "socket.send.buffer.bytes"),
    Row::word(Both, "socket.receive.buffer.bytes"),
    Row::word(Both, "socket.keepalive.enable").set("true", "a peer that is gone is noticed"),
    Row::word(Both, "socket.nagle.disable").set("true", "an append alone is sent at once"),
    Row::word(Both, "socket.max.fails")
        .fixed(&["1"], "a connection on which a request timed out is given up, or it hangs for ever"),
    Row::word(Both, "broker.address.ttl"),
    Row::word(Both, "broker.address.family"),
    Row::word(Both, "socket.connection.setup.timeout.ms"),
    Row::word(Both, "connections.max.idle.ms"),
    Row::word(Both, "reconnect.backoff.jitter.ms").note(DROPPED),
    Row::word(Both, "reconnect.backoff.ms").set("50", "a broker that is back is noticed soon").within(
        10,
        60_000,
        "without a pause an address that refuses is tried thousands of times a second",
    ),
    Row::word(Both, "reconnect.backoff.max.ms").set("1000", "a broker that is back is noticed soon").within(
        100,
        60_000,
        "with a longer pause appends fail long after the brokers are back",
    ),
    Row::word(Both, "statistics.interval.ms")
        .note("the statistics are logged at the level `debug`, for the module `librdkafka`"),
    Row::word(Both, "enabled_events")
        .fixed(&["0"], "reports of appends would become events that nothing takes"),
    Row::api(Both, "error_cb").refused(CALLBACK),
    Row::api(Both, "throttle_cb").refused(CALLBACK),
    Row::api(Both, "stats_cb").refused(CALLBACK),
    Row::api(Both, "log_cb").refused(CALLBACK),
    Row::word(Both, "log_level").note("`RUST_LOG` chooses among what is left"),
    Row::word(Both, "log.queue").fixed(FALSE, "log lines would wait in a queue that nothing reads"),
    Row::word(Both, "log.thread.name"),
    Row::word(Both, "enable.random.seed"),
    Row::word(Both, "log.connection.close").set("false", "brokers close idle connections, which is no fault"),
    Row::api(Both, "background_event_cb").refused(CALLBACK),
    Row::api(Both, "socket_cb").refused(CALLBACK),
    Row::api(Both, "connect_cb").refused(CALLBACK),
    Row::api(Both, "closesocket_cb").refused(CALLBACK),
    Row::api(Both, "open_cb").refused(CALLBACK),
    Row::api(Both, "resolve_cb").refused(CALLBACK),
    Row::api(Both, "opaque").refused(CALLBACK),
    Row::api(Both, "default_topic_conf").refused(CALLBACK),
    Row::word(Both, "internal.termination.signal").fixed(&["0"], "the signal would end the whole process"),
    Row::word(Both, "api.version.request")
        .fixed(TRUE, "without it records are written in a format that has no headers"),
    Row::word(Both, "api.version.request.timeout.ms"),
    Row::word(Both, "api.version.fallback.ms")
        .fixed(&["0"], "with it records may be written in a format that has no headers"),
    Row::text(Both, "broker.version.fallback").refused("brokers say by themselves what they can do"),
    Row::word(Both, "allow.auto.create.topics")
        .fixed(FALSE, "a topic that was deleted would come back, empty"),
    Row::word(Both, "security.protocol").note("`ssl` and `sasl_ssl` need a build with TLS"),
    Row::text(Both, "ssl.cipher.suites").shown(),
    Row::text(Both, "ssl.curves.list").shown(),
    Row::text(Both, "ssl.sigalgs.list").shown(),
    Row::text(Both, "ssl.key.location"),
    Row::text(Both, "ssl.key.password"),
    Row::text(Both, "ssl.key.pem"),
    Row::api(Both, "ssl_key").refused(CALLBACK),
    Row::text(Both, "ssl.certificate.location").shown(),
    Row::text(Both, "ssl.certificate.pem"),
    Row::api(Both, "ssl_certificate").refused(CALLBACK),
    Row::text(Both, "ssl.ca.location")
        .set("probe", "where TLS is used and no `ssl.ca.` property is given: the system's certificates")
        .shown(),
    Row::text(Both, "https.ca.location").shown(),
    Row::text(Both, "https.ca.pem"),
    Row::text(Both, "ssl.ca.pem"),
    Row::api(Both, "ssl_ca").refused(CALLBACK),
    Row::text(Both, "ssl.ca.certificate.stores").note("on Windows").shown(),
    Row::text(Both, "ssl.crl.location").shown(),
    Row::text(Both, "ssl.keystore.location").note("a PKCS#12 file; Java's JKS is not read"),
    Row::text(Both, "ssl.keystore.password"),
    Row::text(Both, "ssl.providers").shown(),
    Row::text(Both, "ssl.engine.location"),
    Row::text(Both, "ssl.engine.id"),
    Row::api(Both, "ssl_engine_callback_data").refused(CALLBACK),
    Row::word(Both, "enable.ssl.certificate.verification")
        .warned(FALSE, "the brokers' certificates are not verified: anyone on the way can read the password"),
    Row::word(Both, "ssl.endpoint.identification.algorithm").warned(
        &["none"],
        "the brokers' names are not verified: whoever has any trusted certificate can be a broker",
    ),
    Row::api(Both, "ssl.certificate.verify_cb").refused(CALLBACK),
    Row::text(Both, "sasl.mechanisms").note("not GSSAPI, which no build of BKES has").shown(),
    Row::alias("sasl.mechanism", "sasl.mechanisms"),
    Row::text(Both, "sasl.kerberos.service.name").refused(KERBEROS),
    Row::text(Both, "sasl.kerberos.principal").refused(KERBEROS),
    Row::text(Both, "sasl.kerberos.kinit.cmd").refused(KERBEROS),
    Row::text(Both, "sasl.kerberos.keytab").refused(KERBEROS),
    Row::word(Both, "sasl.kerberos.min.time.before.relogin").refused(KERBEROS),
    Row::text(Both, "sasl.username"),
    Row::text(Both, "sasl.password"),
    Row::text(Both, "sasl.oauthbearer.config"),
    Row::word(Both, "enable.sasl.oauthbearer.unsecure.jwt")
        .warned(TRUE, "tokens without a signature are for tests only: anyone can make one"),
    Row::api(Both, "oauthbearer_token_refresh_cb").refused(CALLBACK),
    Row::word(Both, "sasl.oauthbearer.method"),
    Row::text(Both, "sasl.oauthbearer.client.id"),
    Row::alias("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    Row::alias("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
    Row::text(Both, "sasl.oauthbearer.client.secret"),
    Row::text(Both, "sasl.oauthbearer.scope"),
    Row::text(Both, "sasl.oauthbearer.extensions"),
    Row::text(Both, "sasl.oauthbearer.token.endpoint.url"),
    Row::word(Both, "sasl.oauthbearer.grant.type"),
    Row::word(Both, "sasl.oauthbearer.assertion.algorithm"),
    Row::text(Both, "sasl.oauthbearer.assertion.private.key.file"),
    Row::text(Both, "sasl.oauthbearer.assertion.private.key.passphrase"),
    Row::text(Both, "sasl.oauthbearer.assertion.private.key.pem"),
    Row::text(Both, "sasl.oauthbearer.assertion.file"),
    Row::text(Both, "sasl.oauthbearer.assertion.claim.aud"),
    Row::word(Both, "sasl.oauthbearer.assertion.claim.exp.seconds"),
    Row::text(Both, "sasl.oauthbearer.assertion.claim.iss"),
    Row::word(Both, "sasl.oauthbearer.assertion.claim.jti.include"),
    Row::word(Both, "sasl.oauthbearer.assertion.claim.nbf.seconds"),
    Row::text(Both, "sasl.oauthbearer.assertion.claim.sub"),
    Row::text(Both, "sasl.oauthbearer.assertion.jwt.template.file"),
    Row::word(Both, "sasl.oauthbearer.metadata.authentication.type"),
    Row::text(Both, "plugin.library.paths").refused("a plugin is foreign code in this process"),
    Row::api(Both, "interceptors").refused(CALLBACK),
    Row::text(Reading, "group.id")
        .set("bkes", "its coordinator is looked up; nothing is joined or committed")
        .shown(),
    Row::text(Reading, "group.instance.id").refused(ASSIGNED),
    Row::text(Reading, "partition.assignment.strategy").refused(ASSIGNED),
    Row::word(Reading, "session.timeout.ms").note(NO_GROUP),
    Row::word(Reading, "heartbeat.interval.ms").note(NO_GROUP),
    Row::text(Reading, "group.protocol.type").refused(ASSIGNED),
    Row::word(Reading, "group.protocol").fixed(&["classic"], ASSIGNED),
    Row::text(Reading, "group.remote.assignor").refused(ASSIGNED),
    Row::word(Reading, "coordinator.query.interval.ms"),
    Row::word(Reading, "max.poll.interval.ms").note(NO_GROUP),
    Row::word(Reading, "enable.auto.commit").fixed(FALSE, POSITIONS),
    Row::word(Reading, "auto.commit.interval.ms").note("nothing is committed, so it has no effect"),
    Row::word(Reading, "enable.auto.offset.store").fixed(FALSE, POSITIONS),
    Row::word(Reading, "queued.min.messages"),
    Row::word(Reading, "queued.max.messages.kbytes")
        .set("2048", "a small queue catches up faster, and bounds memory"),
    Row::word(Reading, "fetch.wait.max.ms")
        .set("5", "one fetch for many records; what others write is seen up to this much later")
        .within(1, 999, "what others write is seen up to this much later")
        .warned(
            &["500"],
            "the default of Kafka's clients; what others write is seen up to half a second later",
        ),
    Row::word(Reading, "fetch.queue.backoff.ms")
        .set("2", "librdkafka's default stops reading for a second when the queue is full")
        .within(0, 1_000, "reading stands still for as long"),
    Row::word(Reading, "fetch.message.max.bytes").within(
        1_000_000,
        1_000_000_000,
        "a broker would wait in vain for the bytes of fetch.min.bytes",
    ),
    Row::alias("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    Row::word(Reading, "fetch.max.bytes"),
    Row::word(Reading, "fetch.min.bytes")
        .set("1000000", "fetch.wait.max.ms bounds how long a broker waits for so much")
        .within(1, 1_000_000, "a partition does not give more at once")
        .warned(
            &["1"],
            "the default of Kafka's clients; a broker is asked nearly as often as there are records",
        ),
    Row::word(Reading, "fetch.error.backoff.ms")
        .set("100", "a leader that has moved is followed soon")
        .within(0, 10_000, "reading stands still for as long"),
    Row::word(Reading, "offset.store.method").refused(POSITIONS),
    Row::word(Reading, "isolation.level")
        .fixed(&["read_committed"], "every instance reads committed records only, or they would disagree"),
    Row::api(Reading, "consume_cb").refused(CALLBACK),
    Row::api(Reading, "rebalance_cb").refused(CALLBACK),
    Row::api(Reading, "offset_commit_cb").refused(CALLBACK),
    Row::word(Reading, "enable.partition.eof").fixed(TRUE, "the end of a partition is how catching up ends"),
    Row::word(Reading, "check.crcs").fixed(TRUE, "damage on the way must be seen"),
    Row::text(Both, "client.rack").shown(),
    Row::text(Writing, "transactional.id")
        .refused("events are accepted by the log's order, not by transactions"),
    Row::word(Writing, "transaction.timeout.ms").note("BKES uses no transactions, so it has no effect"),
    Row::word(Writing, "enable.idempotence")
        .fixed(TRUE, "retries must not store a record twice or out of order"),
    Row::word(Writing, "enable.gapless.guarantee")
        .fixed(FALSE, "the first append that times out would stop the instance"),
    Row::word(Writing, "queue.buffering.max.messages").refused(QUEUE),
    Row::word(Writing, "queue.buffering.max.kbytes").refused(QUEUE),
    Row::word(Writing, "queue.buffering.max.ms")
        .set("0", "appends are gathered by themselves while others are on their way")
        .within(0, 1_000, "each append waits for as long"),
    Row::alias("linger.ms", "queue.buffering.max.ms"),
    Row::word(Writing, "message.send.max.retries").fixed(
        &["2147483647"],
        "appends would fail when a leader moves; --message-timeout-ms bounds the retries",
    ),
    Row::alias("retries", "message.send.max.retries"),
    Row::word(Both, "retry.backoff.ms").within(1, 10_000, "an append that is retried waits for as long"),
    Row::word(Both, "retry.backoff.max.ms").within(1, 10_000, "an append that is retried waits for as long"),
    Row::word(Writing, "queue.buffering.backpressure.threshold")
        .fixed(&["1"], "retries that store nothing twice need it"),
    Row::word(Writing, "compression.codec"),
    Row::alias("compression.type", "compression.codec"),
    Row::word(Writing, "batch.num.messages"),
    Row::word(Writing, "batch.size").note("a batch is never larger than the topic takes"),
    Row::word(Writing, "delivery.report.only.error").fixed(
        FALSE,
        "appends that succeed would never be answered, and the instance stop when its queue is full",
    ),
    Row::api(Writing, "dr_cb").refused(CALLBACK),
    Row::api(Writing, "dr_msg_cb").refused(CALLBACK),
    Row::word(Writing, "sticky.partitioning.linger.ms").note("BKES names the partition, so it has no effect"),
    Row::word(Both, "client.dns.lookup"),
    Row::word(Both, "enable.metrics.push"),
    Row::word(Writing, "request.required.acks")
        .fixed(&["all", "-1"], "an acknowledged event is on all replicas"),
    Row::alias("acks", "request.required.acks"),
    Row::word(Writing, "request.timeout.ms").within(
        1_000,
        900_000,
        "brokers would give up before their replicas have a record",
    ),
    Row::word(Writing, "message.timeout.ms").refused("use --message-timeout-ms"),
    Row::alias("delivery.timeout.ms", "message.timeout.ms"),
    Row::word(Writing, "queuing.strategy").fixed(&["fifo"], "records must be sent in their order"),
    Row::word(Writing, "produce.offset.report").note(DROPPED),
    Row::text(Writing, "partitioner").refused("keys are placed by BKES itself: use --partitioner"),
    Row::api(Writing, "partitioner_cb").refused(CALLBACK),
    Row::api(Writing, "msg_order_cmp").refused(CALLBACK),
    Row::word(Writing, "compression.level"),
    Row::word(Reading, "auto.commit.enable").fixed(FALSE, POSITIONS),
    Row::word(Reading, "auto.offset.reset").fixed(&["error"], "lost data must be an error, not jumped over"),
    Row::text(Reading, "offset.store.path").refused(POSITIONS),
    Row::word(Reading, "offset.store.sync.interval.ms").refused(POSITIONS),
    Row::word(Reading, "consume.callback.max.messages").note("no such callback is used, so it has no effect"),
];
