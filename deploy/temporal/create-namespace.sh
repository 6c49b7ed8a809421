#!/bin/sh
# Creates the namespace where it is missing. The retention is how long operators can look at journeys that have ended, and how old
# a backup of Postgres may be that the audit mends without --force (docs/operations.md).
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
