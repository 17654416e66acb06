// SPDX-License-Identifier: LGPL-2.1-or-later
// What sockets of all kinds have: type, options, buffer sizes, a filter, an owner.
#pragma once

#include <functional>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/fresh_sockets.h"
#include "engine/context/open_file.h"
#include "engine/kernel/socket.h"
#include "engine/socket_state.pb.h"

namespace ks::engine {

// Options are those in which it differs from a new socket of its type; one that cannot be set is refused, and so is
// an error that is pending, unless who asks sees to it.
Result<image::SocketState> read_socket_state(FreshSockets& fresh_sockets, const OpenFile& file, int mine,
                                             bool may_have_error = false);

SocketType type_of(const image::SocketState& state);
// All of it, to a new socket that is not bound yet. A locked filter is for lock_filter().
Result<> apply_socket_state(int fd, const image::SocketState& state);
// The same to one that is in use: what it has already is not set.
Result<> change_socket_state(int fd, const image::SocketState& state);
// A new one, from the record of its state.
Result<Fd> make_socket_from(const std::string& record);
// Whether the sizes of its buffers allow for it or not: what `work` sends into it, or has others send to it.
Result<> with_wide_buffers(int fd, size_t send, size_t receive, const std::function<Result<>()>& work);
// The value of an option that the socket was given, or null.
const std::string* find_option(const image::SocketState& state, int level, int name);

}  // namespace ks::engine
