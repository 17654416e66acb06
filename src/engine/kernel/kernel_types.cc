// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/kernel_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace ks::engine {

namespace {

constexpr uint32_t kBits = 8;

struct Place {
  uint32_t bits = 0;
  bool of_bits = false;  // a bit field
};

std::optional<Place> place_in(const btf* types, const btf_type* outer, std::string_view member) {
  const btf_member* members = btf_members(outer);
  for (uint32_t i = 0; i < btf_vlen(outer); ++i) {
    uint32_t bits = btf_member_bit_offset(outer, i);
    std::string_view name = btf__name_by_offset(types, members[i].name_off);
    if (name == member) return Place{bits, btf_member_bitfield_size(outer, i) != 0};
    if (!name.empty()) continue;
    const btf_type* inner = btf__type_by_id(types, members[i].type);
    if (!inner || !btf_is_composite(inner)) continue;
    if (auto found = place_in(types, inner, member)) return Place{bits + found->bits, found->of_bits};
  }
  return std::nullopt;
}

}  // namespace

// To find a type by its name is to look through all of them: so what has been found is kept.
struct KernelTypes::State {
  explicit State(btf* all) : types(all) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { btf__free(types); }

  Result<uint32_t> find(const char* name, uint32_t kind) {
    std::lock_guard lock(mutex);
    auto [known, is_new] = ids.try_emplace({kind, name}, 0);
    if (is_new) known->second = btf__find_by_name_kind(types, name, kind);
    if (known->second < 0) return fail("the kernel's types (BTF) lack " + std::string(name));
    return static_cast<uint32_t>(known->second);
  }

  btf* types;
  std::mutex mutex;
  std::map<std::pair<uint32_t, std::string>, int> ids;  // below 0: there is none
};

Result<KernelTypes> KernelTypes::read() {
  static const auto types = []() -> Result<KernelTypes> {
    ::libbpf_set_print(nullptr);
    // From nowhere else: a file in /boot, which libbpf would look at too, may be of another kernel.
    btf* all = btf__parse_raw("/sys/kernel/btf/vmlinux");
    if (!all) return fail_errno("the kernel's types (BTF)");
    return KernelTypes(std::make_shared<State>(all));
  }();
  return types;
}

Result<uint32_t> KernelTypes::function(const char* name) const { return state_->find(name, BTF_KIND_FUNC); }

Result<uint32_t> KernelTypes::place(const char* structure, const char* member, bool of_bits) const {
  uint32_t id = TRY(state_->find(structure, BTF_KIND_STRUCT));
  auto place = place_in(state_->types, btf__type_by_id(state_->types, id), member);
  if (!place || place->of_bits != of_bits)
    return fail("the kernel's types (BTF) lack " + std::string(structure) + "." + member);
  return place->bits;
}

Result<uint32_t> KernelTypes::offset(const char* structure, const char* member) const {
  return TRY(place(structure, member, false)) / kBits;
}

Result<uint32_t> KernelTypes::bit(const char* structure, const char* member) const {
  return place(structure, member, true);
}

}  // namespace ks::engine
