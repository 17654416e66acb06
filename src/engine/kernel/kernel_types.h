// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the running kernel has the members of its structures (BTF, Documentation/bpf/btf.rst).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/result.h"

namespace ks::engine {

class KernelTypes {
 public:
  // Once; from then on libbpf prints nothing.
  static Result<KernelTypes> read();

  Result<uint32_t> function(const char* name) const;  // id
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
