// SPDX-License-Identifier: LGPL-2.1-or-later
// What `systemctl ...` means: everything is systemctl's own but the verb kernel-swap.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ks::upgrade {

struct Dispatch {
  bool ours = false;
  std::vector<std::string> arguments;  // for kernel-swap
  std::string error;                   // an option before the verb that we cannot honour
};

// `arguments` without the program's name.
Dispatch dispatch(const std::vector<std::string_view>& arguments);

}  // namespace ks::upgrade
