# The settings of bkes-server that have a default, as environment variables: each gets its default unless it is set already.
# To be sourced:
#
#     . ./defaults.sh && cargo run --release --bin bkes-server
#
# KAFKA_BROKERS has no default: without it the server runs on a log in a local file. For the broker of docker-compose.yml:
#
#     export KAFKA_BROKERS=localhost:29092

export KAFKA_TOPIC="${KAFKA_TOPIC:-events}"
export DATA_PATH="${DATA_PATH:-./data}"
export MAX_CONSUMER_THREADS="${MAX_CONSUMER_THREADS:-1}"
export BIND="${BIND:-127.0.0.1}"
export API_PORT="${API_PORT:-50030}"
export CACHE_MIB="${CACHE_MIB:-64}"
export MESSAGE_TIMEOUT_MS="${MESSAGE_TIMEOUT_MS:-15000}"
export MAX_IN_FLIGHT="${MAX_IN_FLIGHT:-10000}"
export MAX_REQUESTS="${MAX_REQUESTS:-4096}"
export MAX_CONNECTIONS="${MAX_CONNECTIONS:-10000}"
export PARTITIONER="${PARTITIONER:-auto}"
export REPLY_LIMIT="${REPLY_LIMIT:-4194304}"
export READY_LAG_MS="${READY_LAG_MS:-10000}"
export SHUTDOWN_MS="${SHUTDOWN_MS:-20000}"
export RUST_LOG="${RUST_LOG:-info}"
