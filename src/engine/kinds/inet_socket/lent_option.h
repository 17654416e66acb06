// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/kernel/socket.h"

namespace ks::engine::inet_socket {

// An option that is set for a while.
class LentOption {
 public:
  explicit LentOption(const SocketOption& option) : option_(option) {}
  LentOption(const LentOption&) = delete;
  ~LentOption() {
    if (fd_ >= 0) (void)give_back();
  }
  Result<> set(int fd, std::string_view value) {
    auto before = TRY(read_option(fd, option_));
    before_ = before.value_or("");
    TRY(in(option_.label, set_option(fd, option_.level, option_.name, value)));
    fd_ = fd;
    return {};
  }
  Result<> give_back() {
    int fd = std::exchange(fd_, -1);
    return in(option_.label, set_option(fd, option_.level, option_.name, before_));
  }

 private:
  SocketOption option_;
  int fd_ = -1;
  std::string before_;
};

inline constexpr SocketOption kDevice{SOL_SOCKET, SO_BINDTODEVICE, "SO_BINDTODEVICE"};

}  // namespace ks::engine::inet_socket
