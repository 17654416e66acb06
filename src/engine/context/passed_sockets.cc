// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/passed_sockets.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/socket_state.h"
#include "engine/target/process.h"

namespace ks::engine {

Result<bool> is_passed(OutsideHolders& outside, const DumpOptions& options, const OpenFile& file) {
  auto holders = TRY(outside.descriptors(file.link));
  auto other = std::ranges::find_if(holders, [&](const auto& holder) { return holder.pid != options.starter; });
  if (other != holders.end()) return refuse(fmt::format("shared with pid {}, which is not part of it", other->pid));
  return !holders.empty();
}

Result<PassedSockets> PassedSockets::of(pid_t pid, const DescriptorRange& range) {
  PassedSockets sockets;
  std::string directory = proc_path(pid, "fd");
  for (const std::string& number : TRY(list_directory(directory))) {
    auto fd = parse_number<int>(number);
    auto link = read_link(directory + "/" + number);
    if (!fd || !link || !link->starts_with("socket:")) continue;
    Fd low = TRY(fetch_descriptor(pid, *fd));
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (::getsockname(low.get(), reinterpret_cast<sockaddr*>(&name), &length)) return fail_errno("getsockname");
    if (length <= sizeof name.ss_family) continue;
    Fd high(::fcntl(low.get(), F_DUPFD_CLOEXEC, range.first));
    if (!high) return fail_errno("F_DUPFD");
    if (!range.contains(static_cast<uint32_t>(high.get()))) return fail("too many sockets");
    sockets.all_.push_back(
        {.type = TRY(socket_type(high.get())),
         .name = std::string(reinterpret_cast<const char*>(&name), std::min<size_t>(length, sizeof name)),
         .fd = std::move(high)});
  }
  return sockets;
}

Result<Fd> PassedSockets::take(const image::SocketState& state, const std::string& name) {
  auto found = std::ranges::find_if(
      all_, [&](const Entry& entry) { return entry.type == type_of(state) && entry.name == name; });
  if (found == all_.end()) return fail("is not among the sockets with which the service was started");
  Fd fd = std::move(found->fd);
  all_.erase(found);
  TRY(change_socket_state(fd.get(), state));
  return fd;
}

}  // namespace ks::engine
