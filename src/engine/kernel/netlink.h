// SPDX-License-Identifier: LGPL-2.1-or-later
// What the kernel answers over netlink(7).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "base/result.h"

namespace ks::engine {

// One request of a protocol; each answer to it goes to `take`, without its header. Answers to a request for all
// (NLM_F_DUMP) are many; it is made again if what is listed has changed meanwhile.
Result<> ask_netlink(int protocol, uint16_t type, uint16_t flags, std::span<const std::byte> body,
                     const std::function<void(std::span<const std::byte>)>& take);

// Those that follow the fixed part of an answer.
void each_attribute(std::span<const std::byte> attributes,
                    const std::function<void(uint16_t type, std::span<const std::byte>)>& take);
// As much as there is of a structure that the kernel may know in a shorter or longer form.
template <class Value>
Value head_of(std::span<const std::byte> bytes) {
  Value value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

}  // namespace ks::engine
