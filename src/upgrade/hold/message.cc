// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/message.h"

#include <sys/socket.h>

#include <cstdint>
#include <span>

#include "base/file.h"

namespace ks::upgrade {

namespace {

constexpr uint32_t kLongest = 64 << 20;  // a million connections

}  // namespace

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path) return fail(path + ": too long");
  path.copy(address.sun_path, path.size());
  return address;
}

Result<> send_text(int fd, std::string_view text) {
  auto length = static_cast<uint32_t>(text.size());
  std::string message(reinterpret_cast<const char*>(&length), sizeof length);
  message += text;
  std::string_view rest = message;
  while (!rest.empty()) {
    ssize_t sent = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail_errno("send");
    rest.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Result<std::string> receive_text(int fd) {
  uint32_t length = 0;
  TRY(read_exactly(fd, std::as_writable_bytes(std::span(&length, 1)), "message"));
  if (length > kLongest) return fail("message: too long");
  std::string text(length, '\0');
  TRY(read_exactly(fd, std::as_writable_bytes(std::span(text)), "message"));
  return text;
}

}  // namespace ks::upgrade
