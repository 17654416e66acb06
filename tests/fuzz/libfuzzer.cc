// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cstddef>
#include <cstdint>

#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ks::fuzz::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
