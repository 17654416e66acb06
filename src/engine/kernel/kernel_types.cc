// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/kernel_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace ks::engine {

namespace {

constexpr uint32_t kBits = 8;

struct Place {
  uint32_t bits = 0;
  bool of_bits = false;  // a bit field
};

// In a file that is damaged types may be each other's members.
constexpr size_t kDeepest = 32;
using Outers = std::set<const btf_type*>;

std::string_view name_at(const btf* types, uint32_t offset) {
  const char* name = btf__name_by_offset(types, offset);
  return name ? name : "?";
}

std::optional<Place> place_in(const btf* types, const btf_type* outer, std::string_view member, Outers& seen,
                              size_t depth = 0) {
  const btf_member* members = btf_members(outer);
  for (uint32_t i = 0; i < btf_vlen(outer); ++i) {
    uint32_t bits = btf_member_bit_offset(outer, i);
    std::string_view name = name_at(types, members[i].name_off);
    if (name == member) return Place{bits, btf_member_bitfield_size(outer, i) != 0};
    if (!name.empty()) continue;
    const btf_type* inner = btf__type_by_id(types, members[i].type);
    if (!inner || !btf_is_composite(inner) || depth == kDeepest || !seen.insert(inner).second) continue;
    if (auto found = place_in(types, inner, member, seen, depth + 1))
      return Place{bits + found->bits, found->of_bits};
  }
  return std::nullopt;
}

std::span<const struct btf_enum> enumerators_of(const btf_type* type) {
  if (!btf_is_enum(type)) return {};
  return {btf_enum(type), btf_vlen(type)};
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

Result<KernelTypes> KernelTypes::parse(std::span<const std::byte> section) {
  ::libbpf_set_print(nullptr);
  btf* all = btf__new(section.data(), static_cast<uint32_t>(section.size()));
  if (!all) return fail_errno("its types (BTF)");
  return KernelTypes(std::make_shared<State>(all));
}

Result<uint32_t> KernelTypes::function(const char* name) const { return state_->find(name, BTF_KIND_FUNC); }

Result<uint32_t> KernelTypes::size(const char* structure) const {
  return btf__type_by_id(state_->types, TRY(state_->find(structure, BTF_KIND_STRUCT)))->size;
}

Result<std::map<std::string, int64_t>> KernelTypes::enumeration_with(std::string_view enumerator) const {
  for (uint32_t id = 1; id < btf__type_cnt(state_->types); ++id) {
    auto all = enumerators_of(btf__type_by_id(state_->types, id));
    auto name = [&](const auto& one) { return name_at(state_->types, one.name_off); };
    if (std::ranges::none_of(all, [&](const auto& one) { return name(one) == enumerator; })) continue;
    std::map<std::string, int64_t> found;
    for (const auto& one : all) found.emplace(name(one), one.val);
    return found;
  }
  return fail("the kernel's types (BTF) lack " + std::string(enumerator));
}

Result<uint32_t> KernelTypes::place(const char* structure, const char* member, bool of_bits) const {
  uint32_t id = TRY(state_->find(structure, BTF_KIND_STRUCT));
  Outers seen;
  auto place = place_in(state_->types, btf__type_by_id(state_->types, id), member, seen);
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
