# Two images from one build: `broker` is the steelyard binary, `node` adds steelyard-node and a real engine.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the layer, so a changed source line does not compile the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    SQLX_OFFLINE=true cargo build --release -p api -p node \
    && install -D -t /out target/release/steelyard target/release/steelyard-node

FROM debian:bookworm-slim AS broker
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/steelyard steelyard
COPY --from=build /out/steelyard /usr/local/bin/
USER steelyard
EXPOSE 8080
ENTRYPOINT ["steelyard"]
CMD ["serve"]

FROM broker AS node
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
# Only what the set-up reads, so that an edit elsewhere does not download the model again.
COPY scripts/lib.sh /opt/steelyard/scripts/
COPY scripts/engine /opt/steelyard/scripts/engine/
RUN STEELYARD_CACHE=/opt/steelyard /opt/steelyard/scripts/engine/setup.sh && rm -rf ~/.cache
COPY deploy/compose/node.sh deploy/compose/bootstrap.sh /opt/steelyard/
COPY --from=build /out/steelyard-node /usr/local/bin/
# Made here so that a volume mounted over it belongs to the user who writes it.
RUN install -d -o steelyard -g steelyard /var/lib/steelyard-node
USER steelyard
ENTRYPOINT ["/opt/steelyard/node.sh"]
