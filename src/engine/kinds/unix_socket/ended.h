// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets that tell of a process that is not there any more.
#pragma once

#include <functional>

#include "base/result.h"
#include "engine/unix_socket.pb.h"

namespace ks::engine::unix_socket {

// The call, which says whether it has succeeded and leaves its errno, is made by a process that has this PID and this
// user for the moment; where the PID is 0, by a thread of ours. It shares our descriptors, but not our memory.
Result<> as_ended(const image::UnixSocket::Credentials& who, const std::function<bool()>& call);

}  // namespace ks::engine::unix_socket
