# One image for every command:
#   docker build --tag modelrelay .
#   docker run --rm modelrelay --help
# For other processors too, compiled here for each of them: docker buildx build --platform linux/amd64,linux/arm64 .

FROM --platform=$BUILDPLATFORM docker.io/oven/bun:1.4.5-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN bun install --frozen-lockfile --production --ignore-scripts
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
ARG TARGETARCH
# An image cannot look at the processor that will run it, so it has the build that runs on every x64.
ARG COMMIT
RUN case "$TARGETARCH" in amd64) target=linux-x64-baseline ;; *) target="linux-$TARGETARCH" ;; esac \
    && MODELRELAY_COMMIT="$COMMIT" bun scripts/build.ts --target "$target" --outdir /out \
    && mv "/out/modelrelay-$target" /out/modelrelay \
    && mkdir -p /out/lib/modelrelay && chmod 700 /out/lib/modelrelay

# glibc, trusted authorities, time zones, and nothing that could be run but our executable.
FROM gcr.io/distroless/base-nossl-debian13:nonroot
LABEL org.opencontainers.image.title="modelrelay" \
      org.opencontainers.image.description="Puts private GPUs behind one public address that any OpenAI or Anthropic SDK can use" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/modelrelay /usr/local/bin/modelrelay
# A new volume takes owner and mode from here.
COPY --from=build --chown=65532:65532 /out/lib /var/lib
ENV MODELRELAY_DATA_DIR=/var/lib/modelrelay \
    LISTEN_ADDR=:8080
VOLUME /var/lib/modelrelay
EXPOSE 8080
USER 65532:65532
# The relay on this machine, which it finds by its data directory. A worker has none: run it with --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["/usr/local/bin/modelrelay", "status", "--json"]
ENTRYPOINT ["/usr/local/bin/modelrelay"]
CMD ["serve"]
