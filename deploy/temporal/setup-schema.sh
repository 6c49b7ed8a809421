#!/bin/sh
# Creates Temporal's two databases where they are missing, and brings their schema to the version of this image. Safe to
# run again. The password comes in SQL_PASSWORD.
set -eu

for database in temporal temporal_visibility; do
  sql() { temporal-sql-tool --plugin postgres12 --ep postgres -p 5432 -u recuerda --db "$database" "$@"; }
  sql create
  sql setup-schema -v 0.0
  case $database in
    temporal) sql update-schema -d /etc/temporal/schema/postgresql/v12/temporal/versioned ;;
    temporal_visibility) sql update-schema -d /etc/temporal/schema/postgresql/v12/visibility/versioned ;;
  esac
done
