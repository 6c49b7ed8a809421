#!/bin/sh
# Creates the namespace where it is missing. Nothing in Recuerda depends on the retention: it is how long operators can
# look at journeys that have ended.
set -eu

attempt=0
until temporal operator cluster health --address temporal-frontend:7233; do
  attempt=$((attempt + 1))
  if [ "$attempt" -ge 60 ]; then
    echo 'Temporal did not become healthy' >&2
    exit 1
  fi
  sleep 2
done
temporal operator namespace describe --address temporal-frontend:7233 --namespace "$NAMESPACE" >/dev/null 2>&1 ||
  temporal operator namespace create --address temporal-frontend:7233 --namespace "$NAMESPACE" --retention 720h
