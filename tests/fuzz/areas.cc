// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"
#include "target.h"

namespace ks::fuzz {

namespace {

void check(const Result<std::vector<engine::Vma>>& areas) {
  if (!areas) return require(areas.error().what.starts_with("line "), "an error names the line");
  uint64_t last = 0;
  for (const engine::Vma& area : *areas) {
    require(last <= area.start && area.start < area.end, "areas go up and do not overlap");
    last = area.end;
  }
}

}  // namespace

void run(std::string_view input) {
  check(engine::parse_smaps(input));
  check(engine::parse_maps(input));
}

std::vector<std::string> seeds() {
  return {
      "7f5c1a000000-7f5c1a021000 rw-p 00002000 fd:0a 131090                     /usr/lib/x y.so\n"
      "Size:                132 kB\nRss:                   8 kB\nSwap:                  4 kB\n"
      "ProtectionKey:         3\nVmFlags: rd wr mr mw me ac sd \n",
      "1000-2000 ---p 00000000 00:00 0 \n2000-3000 r-xs 00000000 00:01 1 /a\\012b\\101\\ (deleted)\n"
      "3000-4000 rwxs 00000000 00:01 1 /memfd: x  (deleted)\n4000-5000 r--p 00000000 00:00 0 [anon:x y]\n",
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\nVmFlags: ex \n",
  };
}

}  // namespace ks::fuzz
