// SPDX-License-Identifier: LGPL-2.1-or-later
// The families of generic netlink and their multicast groups, to which each kernel gives numbers as they come
// (linux/genetlink.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "base/result.h"

namespace ks::engine {

struct GenericNumbers {
  std::map<std::string, uint32_t> families;
  std::map<std::string, uint32_t> groups;  // "family/group"
};

// Of our network namespace.
Result<GenericNumbers> generic_numbers();
// Has the kernel look for the module of a family that is not there.
void load_generic_family(const std::string& name);

// What the kernel tells of one family, put to those that are known.
void add_family(std::span<const std::byte> answer, GenericNumbers& out);

}  // namespace ks::engine
