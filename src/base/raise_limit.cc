// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/raise_limit.h"

#include <algorithm>

namespace ks {

rlim_t raise_limit(__rlimit_resource which, rlim_t wanted) {
  rlimit before{};
  if (::getrlimit(which, &before)) return 0;
  for (rlim_t most : {std::max(before.rlim_max, wanted), before.rlim_max})
    if (rlimit limit{most, most}; ::setrlimit(which, &limit) == 0) return most;
  return before.rlim_cur;
}

}  // namespace ks
