// SPDX-License-Identifier: LGPL-2.1-or-later
// Between the keeper and its clients: texts, each behind its length.
#pragma once

#include <sys/un.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::upgrade {

Result<sockaddr_un> socket_address(const std::string& path);

Result<> send_text(int fd, std::string_view text);
Result<std::string> receive_text(int fd);

}  // namespace ks::upgrade
