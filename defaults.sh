# The settings of bkes-server as environment variables, each with its default unless it is set already. To be sourced:
#
#     . ./defaults.sh && cargo run --release --bin bkes-server
#
# KAFKA_BROKERS has no default: without it the server runs on a log in a local file. For the broker of docker-compose.yml:
#
#     export KAFKA_BROKERS=localhost:29092

export KAFKA_TOPIC="${KAFKA_TOPIC:-events}"
export DATA_PATH="${DATA_PATH:-./data}"
export MAX_CONSUMER_THREADS="${MAX_CONSUMER_THREADS:-1}"
export API_PORT="${API_PORT:-50030}"
export BIND="${BIND:-127.0.0.1}"
export RUST_LOG="${RUST_LOG:-info}"
