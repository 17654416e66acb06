// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets that the processes have been handed by whoever starts them, systemd for a .socket unit, and who keeps them
// open while nobody uses them.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/descriptor_range.h"
#include "engine/context/open_file.h"
#include "engine/context/outside.h"
#include "engine/context/verdict.h"
#include "engine/kernel/socket_type.h"
#include "engine/socket_state.pb.h"

namespace ks::engine {

// Whether a socket is such a one. One that somebody else outside has open too is refused.
Result<bool> is_passed(OutsideHolders& outside, const DumpOptions& options, const OpenFile& file);

// Those that a process holds for the ones to be restored.
class PassedSockets {
 public:
  PassedSockets() = default;
  // Their descriptors lie in the range, so that processes inherit them.
  static Result<PassedSockets> of(pid_t pid, const DescriptorRange& range);

  // The one of this type and with this sockaddr as its name, brought to this state. Each is given once.
  Result<Fd> take(const image::SocketState& state, const std::string& name);

 private:
  struct Entry {
    SocketType type;
    std::string name;
    Fd fd;
  };
  std::vector<Entry> all_;
};

}  // namespace ks::engine
