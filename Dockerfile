# One image for each program: docker build --target operator|receiver|worker|ledger . (the ledger is the API of the examples)
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake libcurl4-openssl-dev libssl-dev pkg-config zlib1g-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked -p sluice-operator -p sluice-receiver -p sluice-worker -p sluice-example-ledger \
    && mkdir /out && for program in sluice-operator sluice-receiver sluice-worker ledger; do cp target/dist/$program /out/; done
# What the programs link beside glibc: librdkafka's TLS and compression.
RUN mkdir -p /out/lib && ldd /out/sluice-* /out/ledger | awk '$3 ~ /lib(ssl|crypto|z)\.so/ {print $3}' | sort -u | xargs -I{} cp -L {} /out/lib/

FROM gcr.io/distroless/cc-debian12:nonroot AS base
COPY --from=build /out/lib/ /usr/lib/x86_64-linux-gnu/

FROM base AS operator
COPY --from=build /out/sluice-operator /usr/bin/sluice-operator
ENTRYPOINT ["/usr/bin/sluice-operator"]

FROM base AS receiver
COPY --from=build /out/sluice-receiver /usr/bin/sluice-receiver
ENTRYPOINT ["/usr/bin/sluice-receiver"]

FROM base AS worker
COPY --from=build /out/sluice-worker /usr/bin/sluice-worker
ENTRYPOINT ["/usr/bin/sluice-worker"]

FROM base AS ledger
COPY --from=build /out/ledger /usr/bin/ledger
ENTRYPOINT ["/usr/bin/ledger"]
