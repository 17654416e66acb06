// SPDX-License-Identifier: LGPL-2.1-or-later
// UNIX sockets (unix(7)): between processes of the target, listening, or of datagrams to a name outside.
#pragma once

#include <sys/un.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "engine/kinds/kind.h"
#include "engine/unix_socket.pb.h"

namespace ks::engine::unix_socket {

inline constexpr std::string_view kName = "unix-socket";
inline constexpr uint32_t kVersion = 2;

// The part of a sockaddr_un after its family.
inline std::string_view path_of(std::string_view name) {
  return name.size() <= offsetof(sockaddr_un, sun_path) ? std::string_view()
                                                        : name.substr(offsetof(sockaddr_un, sun_path));
}
inline bool is_abstract(std::string_view name) { return path_of(name).starts_with('\0'); }

bool owns(const OpenFile& file);
Result<> look_inside(Dumping& dumping, std::span<const OpenFile> files, const Kind::Found& found);
// For how much memory their sender has to answer (SIOCOUTQ) while nobody has read these messages: for more, if there
// are others that do not show.
Result<uint32_t> memory_of(int type, std::span<const ReceivedMessage> messages);
Result<> dump(Dumping& dumping, std::span<const OpenFile> files);
Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes);
Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes);

}  // namespace ks::engine::unix_socket
