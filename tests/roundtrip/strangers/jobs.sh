#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Jobs in pipelines, stopped and continued, subshells, substitutions, traps, here documents and wait.
set -u -o pipefail
size=$1
caught=0
trap 'caught=$((caught + 1))' USR1

numbers() { for ((n = 1; n <= size * 20; n++)); do echo "$n"; done; }
slow() { while read -r line; do ((line % 100)) || sleep 0.01; echo "$line"; done; }

set -m
numbers | slow | awk '{ s = (s * 31 + $1) % 1000003 } END { print s }' > sum &
stopped=$!
numbers | sort -rn | md5sum > sorted &
set +m
kill -STOP %1
kill -CONT %1

total=0
for ((i = 0; i < size; i++)); do
    part=$(seq $((i * 10)) $((i * 10 + 9)) | awk '{ s += $1 } END { print s }')
    total=$((total + part))
    [ $((i % 10)) -ne 0 ] || { kill -USR1 $$; kill -STOP %1 && kill -CONT %1; } 2>/dev/null
    read -r first <<< "$(tr a-z A-Z <<< "word$i")"
    [ "$first" = "WORD$i" ] || { echo "substitution: $first"; exit 1; }
done
wait $stopped || { echo "a job ended with $?"; exit 1; }
(exit 7) | (exit 0)
[ "${PIPESTATUS[*]}" = "7 0" ] || { echo "pipestatus"; exit 1; }
wait
[ "$caught" -gt 0 ] || { echo "no trap ran"; exit 1; }
echo "$total $(cat sum) $(cat sorted)"
