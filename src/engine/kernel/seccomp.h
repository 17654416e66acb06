// SPDX-License-Identifier: LGPL-2.1-or-later
// What a thread's seccomp filters make of a system call (seccomp(2); the kernel's
// Documentation/userspace-api/seccomp_filter.rst). Pure.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct SeccompFilter {
  std::vector<sock_filter> code;
  bool log = false;  // SECCOMP_FILTER_FLAG_LOG
};

// What the program returns for a call. An error: it is not one that Linux would have taken.
Result<uint32_t> run_filter(std::span<const sock_filter> code, const seccomp_data& call);

// The action of all of them, as SECCOMP_RET_*.
Result<uint32_t> filtered_action(std::span<const SeccompFilter> filters, const seccomp_data& call);

// Whether some call may go to a supervisor (SECCOMP_RET_USER_NOTIF), or this cannot be told.
bool may_notify(std::span<const sock_filter> code);

// The thread goes on after the call, whatever it returns.
bool is_harmless(uint32_t action);
// The call is made.
bool is_allowed(uint32_t action);

}  // namespace ks::engine
