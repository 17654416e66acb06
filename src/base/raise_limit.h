// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/resource.h>

namespace ks {

// A limit of ours (getrlimit(2)), as high as is wanted or else as we may have it. Returns what we have then.
rlim_t raise_limit(__rlimit_resource which, rlim_t wanted);

}  // namespace ks
