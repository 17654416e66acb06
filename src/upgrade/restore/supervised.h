// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine at work in a process of its own: should it crash, hang or be killed, somebody is left who starts
// the unit afresh.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace ks::upgrade {

struct Supervised {
  // In the child. It calls `commit` when all is ready, and goes on only if that succeeds.
  // What there is to say of it, if anything.
  std::function<Result<std::string>(const std::function<Result<>()>& commit)> work;
  // Here, once, while the child waits: it may have joined other namespaces, we have not.
  std::function<Result<>()> commit;
  uint64_t limit_seconds = 0;
};

// The child is gone when this returns; what it traced died with it unless it ended well.
Result<std::string> run_supervised(const Supervised& job);

}  // namespace ks::upgrade
