// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/kernel_types.h"

#include <linux/btf.h>

#include "base/file.h"

namespace ks::engine {

namespace {

constexpr uint32_t kEnum64 = 19;  // BTF_KIND_ENUM64, newer than the headers

template <class Value>
Value head_of(std::string_view bytes) {
  Value value{};
  bytes.copy(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

// What follows a type of this kind.
size_t extra_bytes(uint32_t kind, uint32_t count) {
  switch (kind) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
      return sizeof(uint32_t);
    case BTF_KIND_ARRAY:
      return sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return count * sizeof(btf_member);
    case BTF_KIND_ENUM:
      return count * sizeof(btf_enum);
    case BTF_KIND_FUNC_PROTO:
      return count * sizeof(btf_param);
    case BTF_KIND_DATASEC:
      return count * sizeof(btf_var_secinfo);
    case kEnum64:
      return size_t{count} * 3 * sizeof(uint32_t);
    default:
      return 0;
  }
}

}  // namespace

Result<KernelTypes> KernelTypes::read() {
  std::string bytes = TRY(read_file("/sys/kernel/btf/vmlinux"));
  KernelTypes types = TRY(parse(bytes));
  size_t types_at = static_cast<size_t>(types.types_.data() - bytes.data()),
         names_at = static_cast<size_t>(types.names_.data() - bytes.data());
  types.own_ = std::move(bytes);
  types.types_ = std::string_view(types.own_).substr(types_at, types.types_.size());
  types.names_ = std::string_view(types.own_).substr(names_at, types.names_.size());
  return types;
}

Result<KernelTypes> KernelTypes::parse(std::string_view bytes) {
  auto header = head_of<btf_header>(bytes);
  auto part = [&](uint64_t offset, uint32_t length) {
    uint64_t at = header.hdr_len + offset;
    return at > bytes.size() ? std::string_view() : bytes.substr(at, length);
  };
  KernelTypes types;
  types.types_ = part(header.type_off, header.type_len);
  types.names_ = part(header.str_off, header.str_len);
  if (bytes.size() < sizeof header || header.magic != BTF_MAGIC || types.types_.empty() || types.names_.empty())
    return fail("the kernel's types (BTF) cannot be read");
  return types;
}

std::string_view KernelTypes::name_at(uint32_t offset) const {
  if (offset >= names_.size()) return {};
  std::string_view rest = names_.substr(offset);
  return rest.substr(0, rest.find('\0'));
}

template <class Stops>
void KernelTypes::each(Stops stops) const {
  std::string_view rest = types_;
  for (uint32_t id = 1; rest.size() >= sizeof(btf_type); ++id) {
    auto head = head_of<btf_type>(rest);
    rest.remove_prefix(sizeof head);
    uint32_t kind = BTF_INFO_KIND(head.info);
    size_t extra = extra_bytes(kind, BTF_INFO_VLEN(head.info));
    if (extra > rest.size()) return;
    if (stops(Type{id, kind, name_at(head.name_off), rest.substr(0, extra), BTF_INFO_KFLAG(head.info) != 0})) return;
    rest.remove_prefix(extra);
  }
}

std::optional<uint32_t> KernelTypes::function(std::string_view name) const {
  std::optional<uint32_t> id;
  each([&](const Type& type) {
    if (type.kind == BTF_KIND_FUNC && type.name == name) id = type.id;
    return id.has_value();
  });
  return id;
}

std::optional<uint32_t> KernelTypes::offset(std::string_view structure, std::string_view member) const {
  std::optional<uint32_t> offset;
  each([&](const Type& type) {
    if (type.kind == BTF_KIND_STRUCT && type.name == structure) offset = offset_in(type, member);
    return offset.has_value();
  });
  return offset;
}

std::optional<uint32_t> KernelTypes::offset_in(const Type& outer, std::string_view member) const {
  constexpr uint32_t kBits = 8;
  for (std::string_view rest = outer.extra; rest.size() >= sizeof(btf_member);
       rest.remove_prefix(sizeof(btf_member))) {
    auto entry = head_of<btf_member>(rest);
    uint32_t bits = outer.has_bit_fields ? BTF_MEMBER_BIT_OFFSET(entry.offset) : entry.offset;
    bool is_bit_field = outer.has_bit_fields && BTF_MEMBER_BITFIELD_SIZE(entry.offset) != 0;
    std::string_view name = name_at(entry.name_off);
    if (name == member && !is_bit_field) return bits / kBits;
    if (!name.empty()) continue;
    // Structures and unions without a name.
    std::optional<uint32_t> inner;
    each([&](const Type& type) {
      if (type.id == entry.type && (type.kind == BTF_KIND_STRUCT || type.kind == BTF_KIND_UNION))
        inner = offset_in(type, member);
      return type.id == entry.type;
    });
    if (inner) return bits / kBits + *inner;
  }
  return std::nullopt;
}

}  // namespace ks::engine
