# The image of bkes-server, built from source. TLS is compiled in (OpenSSL from source: that needs perl and make).

FROM rust:1.95-bookworm AS builder
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc g++ make perl \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin bkes-server --features bkes-server/tls \
 && install -D target/release/bkes-server /out/bkes-server

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin bkes \
 && install -d -o bkes -g bkes -m 0750 /data /opt/data
COPY --from=builder /out/bkes-server /usr/local/bin/bkes-server

# A volume made from this image takes over the owner of /data, so that the user below can write to it. The original's compose files
# mount theirs at /opt/data; one that the original wrote to belongs to root, and the server says how it is given to this user.
VOLUME ["/data"]
USER bkes

# Inside a container the loopback address reaches nobody. v1 has no authentication: publish the port to trusted networks only.
ENV DATA_PATH=/data BIND=0.0.0.0 API_PORT=50030
EXPOSE 50030

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/bkes-server", "--health"]
ENTRYPOINT ["/usr/local/bin/bkes-server"]
