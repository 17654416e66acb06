// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the running kernel has the members of its structures (BTF, Documentation/bpf/btf.rst).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

class KernelTypes {
 public:
  static Result<KernelTypes> read();  // /sys/kernel/btf/vmlinux
  // Refers to the bytes.
  static Result<KernelTypes> parse(std::string_view bytes);

  std::optional<uint32_t> function(std::string_view name) const;  // id
  // In bytes, of a member that is no bit field, also in a structure or union without a name.
  std::optional<uint32_t> offset(std::string_view structure, std::string_view member) const;

 private:
  struct Type {
    uint32_t id = 0, kind = 0;
    std::string_view name, extra;
    bool has_bit_fields = false;
  };
  // Until it says so.
  template <class Stops>
  void each(Stops stops) const;
  std::optional<uint32_t> offset_in(const Type& outer, std::string_view member) const;
  std::string_view name_at(uint32_t offset) const;

  std::string own_;
  std::string_view types_, names_;
};

}  // namespace ks::engine
