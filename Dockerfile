# One image for the API, the workers and the migration: `recuerda api`, `recuerda worker`, `recuerda migrate`.

FROM node:20.20.2-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# No install scripts: all that they would set up is for machines that run the embedded servers.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:20.20.2-bookworm-slim
# The slim image has no certificate authorities, and connections to mail servers are checked against them.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=packages /app/node_modules node_modules/
COPY package.json tsconfig.json config.ts worker.ts ./
COPY domain domain/
COPY db db/
COPY mail mail/
COPY workflows workflows/
COPY activities activities/
COPY temporal temporal/
COPY telemetry telemetry/
COPY api api/
COPY stack stack/
COPY cli cli/
COPY examples examples/
# A volume that is mounted here for the first time takes this owner over.
RUN install -d -o node -g node /var/lib/recuerda/journal
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
# For the API. Ready means that Postgres answers; a worker is asked elsewhere, as docker-compose.yml does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "cli/recuerda.js"]
CMD ["api"]
