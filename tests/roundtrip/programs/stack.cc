// SPDX-License-Identifier: LGPL-2.1-or-later
// A deep stack: what lies in it, that it is still the main stack, and that it still grows.
#include "program.h"

static int descend(int depth, int bottom) {
  volatile char frame[3 * kPage];
  for (size_t i = 0; i < sizeof frame; i += 64) frame[i] = static_cast<char>(depth + i);
  if (depth == bottom) {
    if (bottom == 100) ready();
  } else {
    descend(depth + 1, bottom);
  }
  if (bottom == 100 && depth == 100) descend(0, 300);  // deeper than ever before
  for (size_t i = 0; i < sizeof frame; i += 64) CHECK(frame[i] == static_cast<char>(depth + i));
  return depth;
}

int main() { return descend(0, 100); }
