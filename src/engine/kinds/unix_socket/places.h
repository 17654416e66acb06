// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of UNIX sockets, and the files that they lead to.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/socket_type.h"
#include "engine/unix_socket.pb.h"

namespace ks::engine::unix_socket {

inline const sockaddr* as_address(const std::string& name) { return reinterpret_cast<const sockaddr*>(name.data()); }
inline socklen_t size_of(const std::string& name) { return static_cast<socklen_t>(name.size()); }

// The path in a name of one.
std::string file_name(std::string_view name);

// With `root` as its root directory, and its own working directory.
Result<> in_directory(int root, const std::string& directory, const std::function<Result<>()>& work);

// Both return the socket's file (O_PATH), through which it can be reached from everywhere (way_through()); of an
// abstract name, nothing.
Result<Fd> bind_to_file(int root, int fd, const SocketType& type, const image::UnixSocket& socket);
// A path leads to nothing afterwards.
Result<Fd> bind_to_name(int fd, const std::string& name);

// A name for connect(2) and sendmsg(2) that leads to a socket's file.
std::string way_through(int door);

}  // namespace ks::engine::unix_socket
