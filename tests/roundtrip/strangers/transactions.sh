#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# transactions.sh SIZE: a database that is written by one process and read by another, in both modes of its journal.
set -eu
size=$1
work() { # JOURNAL
    echo "PRAGMA journal_mode=$1; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=60000; PRAGMA cache_size=50;"
    echo "CREATE TABLE t(id INTEGER PRIMARY KEY, text, sum); CREATE INDEX i ON t(sum);"
    n=0
    while [ "$n" -lt "$size" ]; do
        n=$((n + 1))
        echo "BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 400)
              INSERT INTO t(text, sum) SELECT printf('%d-%d', $n, x), (x * 7919 + $n * 104729) % 1000003 FROM c;"
        echo "UPDATE t SET sum = (sum * 31 + $n) % 1000003 WHERE id % 7 = $n % 7;"
        [ $((n % 5)) -ne 0 ] && echo "COMMIT;" || echo "ROLLBACK;"
    done
    echo "PRAGMA integrity_check; SELECT count(*), sum(sum), max(text), sum(length(text)) FROM t;"
}
rm -f base*
for journal in delete wal; do
    work "$journal" | sqlite3 "base-$journal"
    # Readers wait for the writer's lock, or read what was there before.
    echo "PRAGMA busy_timeout=60000; BEGIN IMMEDIATE; UPDATE t SET sum = 1 WHERE id < 1000; COMMIT;" |
        sqlite3 "base-$journal" &
    work none | tail -1 | sqlite3 -cmd ".timeout 60000" "base-$journal" > /dev/null
    wait
    sqlite3 "base-$journal" "SELECT sum(sum) FROM t WHERE id % 100 = 0;"
done
