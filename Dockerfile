# One image for all programs: docker build --target runtime -t pivotal-sync .
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/deps deploy/deps
RUN apt-get update -q && apt-get install -y -q --no-install-recommends make && deploy/deps compile \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make -j"$(nproc)" all && make install PREFIX=/usr DESTDIR=/out \
    && install -m 755 build/bin/pivotal-sync-sim /usr/local/bin/

FROM debian:bookworm-slim AS runtime
RUN apt-get update -q && apt-get install -y -q --no-install-recommends \
        ca-certificates libmicrohttpd12 libhiredis0.14 libuv1 libcurl4 libpq5 libjansson4 libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin psync
COPY --from=build /out/usr/bin/ /usr/bin/
LABEL org.opencontainers.image.title=pivotal-sync org.opencontainers.image.licenses=Apache-2.0
USER psync
CMD ["pivotal-sync", "help"]

# With PostgreSQL, Redis and the simulator: docker compose --profile demo up --build demo
FROM runtime AS demo
USER root
COPY --from=build /src/deploy/deps /tmp/deps
RUN /tmp/deps services && rm -rf /tmp/deps /var/lib/apt/lists/* \
    && install -d -o psync -g psync /var/lib/pivotal-sync
COPY --from=build /usr/local/bin/pivotal-sync-sim /usr/bin/
ENV PIVOTAL_SYNC_DATA_DIR=/var/lib/pivotal-sync
USER psync
CMD ["pivotal-sync", "up", "--demo"]
