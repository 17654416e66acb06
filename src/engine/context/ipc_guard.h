// SPDX-License-Identifier: LGPL-2.1-or-later
// System V objects and message queues belong to no process, so that those which a restore has made would outlive it
// should it be killed. A small process sees to it that they do not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/restoring.h"
#include "engine/kernel/system_v.h"

namespace ks::engine {

class IpcGuard {
 public:
  // None of the PIDs `taken` becomes its own.
  IpcGuard(const MadeNamespaces& namespaces, const std::set<pid_t>& taken) : namespaces_(namespaces), taken_(taken) {}
  IpcGuard(const IpcGuard&) = delete;
  ~IpcGuard();  // removes all that is not kept

  // Makes the object with `make`, in its namespace of IPC. There must be none of this id.
  Result<> make(uint32_t name_space, SystemVType type, int id, const std::function<Result<>()>& make);
  // The same of a POSIX message queue; a passing one does not outlive `make`. There must be none of this name.
  Result<> make_named(uint32_t name_space, const std::string& name, bool passing,
                      const std::function<Result<>()>& make);
  // From here on all of it stays.
  void keep();

 private:
  Result<> start();
  struct Order;
  Result<> carry_out(Order order, bool passing, const std::function<Result<>()>& make);
  const MadeNamespaces& namespaces_;
  const std::set<pid_t>& taken_;
  pid_t pid_ = 0;
  Fd orders_;
};

}  // namespace ks::engine
