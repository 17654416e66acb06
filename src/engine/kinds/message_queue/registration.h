// SPDX-License-Identifier: LGPL-2.1-or-later
// Who is to be notified when a message comes into an empty queue (mq_notify(3)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace ks::engine::message_queue {

struct Registration {
  pid_t pid = 0;
  bool by_signal = false;  // or not at all (SIGEV_NONE): then it only keeps others from being so
  int signal = 0;
  uint64_t value = 0;  // comes with it
};

// `fd`: a description of our own. The kernel tells who it is and by which signal; what comes with the signal is read
// where it lies (kernel/iterator.h). Refuses what the process could not ask for again.
Result<std::optional<Registration>> registration_of(int fd);

}  // namespace ks::engine::message_queue
