// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/vdso.h"

#include <sys/auxv.h>

#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  auto vdso = engine::parse_vdso(std::as_bytes(std::span(input)));
  if (!vdso) return;
  for (const auto& function : vdso->functions)
    require(function.offset <= input.size() && function.size <= input.size() - function.offset,
            "functions lie inside the image");
  for (const auto& now : {*vdso, engine::Vdso{}}) {
    auto patches = engine::redirect_vdso(*vdso, now, 0x7fff12340000);
    if (!patches) continue;
    uint64_t last = 0;
    for (const auto& patch : *patches) {
      require(patch.offset >= last, "patches do not overlap");
      last = patch.offset + patch.bytes.size();
      require(last <= input.size(), "patches lie inside the image");
    }
  }
}

std::vector<std::string> seeds() {
  // Two pages is what every kernel since 5.3 has at least; the symbols lie in the first.
  auto* own = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  return {std::string(own, 8192)};
}

}  // namespace ks::fuzz
