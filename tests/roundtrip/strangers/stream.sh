#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# stream.sh SIZE: a stream that is compressed by several threads and taken apart again.
set -eu
seq "$1" > plain
zstd -q -12 -T2 < plain | zstd -q -d | sha256sum
seq "$1" | sha256sum
zstd -q -f -9 --long=25 plain -o packed
zstd -q -d -c packed | sha256sum
