// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"
#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  auto stat = engine::parse_stat(input);
  if (!stat) return require(stat.error().what.starts_with("line 1: "), "an error names the line");
  require(input.find("(" + stat->comm + ")") != std::string_view::npos, "the name stands in parentheses");
}

std::vector<std::string> seeds() {
  std::string fields =
      " S 1 2 3 34816 7 4194560 100 0 0 0 1 2 0 0 20 0 1 0 5000 9216000 1000 18446744073709551615 94000000 "
      "94100000 140000000 0 0 0 65536 1 268444224 0 0 0 17 1 0 0 0 0 0 94200000 94300000 94400000 140100000 "
      "140200000 140300000 140400000 139\n";
  return {"7 (cat)" + fields, "7 (a) b) S 1)" + fields, "7 ()" + fields, "7 (a\nb (c)" + fields};
}

}  // namespace ks::fuzz
