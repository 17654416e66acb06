// SPDX-License-Identifier: LGPL-2.1-or-later
// What a kernel tells of its types (BTF, Documentation/bpf/btf.rst), such as where it has the members of its
// structures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace ks::engine {

class KernelTypes {
 public:
  // Of the running one, once; from then on libbpf prints nothing.
  static Result<KernelTypes> read();
  // From its section .BTF.
  static Result<KernelTypes> parse(std::span<const std::byte> section);

  Result<uint32_t> function(const char* name) const;  // id
  Result<uint32_t> size(const char* structure) const;
  // All of the enumeration that has this one, by name.
  Result<std::map<std::string, int64_t>> enumeration_with(std::string_view enumerator) const;
  // In bytes, of a member that is no bit field, also in a structure or union without a name.
  Result<uint32_t> offset(const char* structure, const char* member) const;
  // In bits, of one that is.
  Result<uint32_t> bit(const char* structure, const char* member) const;

 private:
  struct State;
  explicit KernelTypes(std::shared_ptr<State> state) : state_(std::move(state)) {}
  Result<uint32_t> place(const char* structure, const char* member, bool of_bits) const;
  std::shared_ptr<State> state_;
};

}  // namespace ks::engine
