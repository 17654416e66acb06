// SPDX-License-Identifier: LGPL-2.1-or-later
// What a socket tells once, to whoever asks first: the error that is pending (SO_ERROR).
#pragma once

#include "base/result.h"

namespace ks::engine {

struct PendingError {
  int error = 0;            // 0: none; what is waiting lies in its error queue (MSG_ERRQUEUE)
  bool peer_ended = false;  // of a stream: its peer's end had come before
};

// Of a socket of our own, or a duplicate of another's. A program that we load into the kernel reads it where it lies
// (bpf(2), an iterator over our open files) and changes nothing. Fails where the kernel has no BTF or bpf(2), or lets
// nobody read in it (kernel_lockdown(7)).
Result<PendingError> peek_error(int fd);

}  // namespace ks::engine
