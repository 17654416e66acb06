// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/vdso.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "engine/kernel/elf.h"
#include "engine/kernel/x86_64/vdso_code.h"

namespace ks::engine {

namespace {

using Image = std::span<const std::byte>;

// Copied out, since nothing says that it is aligned.
template <class T>
Result<T> load(Image image, uint64_t offset) {
  auto bytes = part_of(image, offset, sizeof(T));
  if (!bytes) return fail(fmt::format("vDSO: nothing at {:#x}", offset));
  T value;
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

Result<std::string> load_text(Image image, uint64_t offset) {
  if (offset > image.size()) return fail(fmt::format("vDSO: nothing at {:#x}", offset));
  auto text = image.subspan(offset);
  auto end = std::ranges::find(text, std::byte{0});
  if (end == text.end()) return fail(fmt::format("vDSO: text without an end at {:#x}", offset));
  return std::string(reinterpret_cast<const char*>(text.data()), static_cast<size_t>(end - text.begin()));
}

struct Segments {
  std::optional<Elf64_Phdr> code, dynamic;
  std::vector<Elf64_Phdr> notes;
  // Where in the image an address of the ELF file is. Wraps where there is no such place, which every use
  // checks.
  uint64_t offset(uint64_t address) const { return address - code->p_vaddr + code->p_offset; }
};

Result<Segments> find_segments(Image image) {
  auto header = TRY(load<Elf64_Ehdr>(image, 0));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64)
    return fail("vDSO: not ELF of 64 bits for x86-64");
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return fail("vDSO: program headers of an unknown size");
  Segments segments;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    auto segment = TRY(load<Elf64_Phdr>(image, header.e_phoff + i * sizeof(Elf64_Phdr)));
    if (segment.p_type == PT_LOAD && !segments.code) segments.code = segment;
    if (segment.p_type == PT_DYNAMIC && !segments.dynamic) segments.dynamic = segment;
    if (segment.p_type == PT_NOTE) segments.notes.push_back(segment);
  }
  if (!segments.code || !segments.dynamic) return fail("vDSO: lacks a loaded or a dynamic segment");
  return segments;
}

Result<std::string> find_build_id(Image image, const Segments& segments) {
  for (const Elf64_Phdr& segment : segments.notes) {
    auto notes = part_of(image, segments.offset(segment.p_vaddr), segment.p_memsz);
    if (!notes) return fail("vDSO: notes lie outside");
    if (std::string id = TRY(in("vDSO", engine::find_build_id(*notes))); !id.empty()) return id;
  }
  return fail("vDSO: has no build id");
}

struct DynamicTables {
  uint64_t symbols = 0, strings = 0, hash = 0, gnu_hash = 0;
};

Result<DynamicTables> find_tables(Image image, const Segments& segments) {
  DynamicTables tables;
  uint64_t at = segments.offset(segments.dynamic->p_vaddr);
  for (uint64_t left = segments.dynamic->p_memsz / sizeof(Elf64_Dyn); left > 0; --left, at += sizeof(Elf64_Dyn)) {
    auto entry = TRY(load<Elf64_Dyn>(image, at));
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_SYMTAB) tables.symbols = segments.offset(entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRTAB) tables.strings = segments.offset(entry.d_un.d_ptr);
    if (entry.d_tag == DT_HASH) tables.hash = segments.offset(entry.d_un.d_ptr);
    if (entry.d_tag == DT_GNU_HASH) tables.gnu_hash = segments.offset(entry.d_un.d_ptr);
  }
  if (tables.symbols == 0 || tables.strings == 0) return fail("vDSO: lacks a table of symbols");
  return tables;
}

// The table of symbols does not know its length; a hash table over it does.
Result<uint64_t> count_symbols(Image image, const DynamicTables& tables) {
  if (tables.hash != 0) return TRY(load<Elf64_Word>(image, tables.hash + 4));
  if (tables.gnu_hash == 0) return fail("vDSO: lacks a hash table");
  // Words: bucket count, first symbol, bloom words (of 8 bytes), shift; bloom; buckets; a chain word per
  // symbol, whose lowest bit ends a chain.
  uint64_t buckets = TRY(load<Elf64_Word>(image, tables.gnu_hash));
  uint64_t first = TRY(load<Elf64_Word>(image, tables.gnu_hash + 4));
  uint64_t bloom = TRY(load<Elf64_Word>(image, tables.gnu_hash + 8));
  uint64_t buckets_at = tables.gnu_hash + 16 + bloom * 8, chains_at = buckets_at + buckets * 4;
  uint64_t last = 0;
  for (uint64_t i = 0; i < buckets; ++i)
    last = std::max<uint64_t>(last, TRY(load<Elf64_Word>(image, buckets_at + i * 4)));
  if (last < first) return first;
  while ((TRY(load<Elf64_Word>(image, chains_at + (last - first) * 4)) & 1) == 0) ++last;
  return last + 1;
}

constexpr std::string_view kPrefix = "__vdso_";

// "clock_gettime" of "__vdso_clock_gettime".
std::string_view short_name(std::string_view name) {
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  return name;
}

bool same_function(const VdsoSymbol& one, const VdsoSymbol& other) {
  return short_name(one.name) == short_name(other.name);
}

// One per address: aliases go, a name with the prefix stays rather than one without.
void drop_aliases(std::vector<VdsoSymbol>& functions) {
  std::ranges::sort(functions, {}, [](const VdsoSymbol& f) {
    return std::tuple(f.offset, !f.name.starts_with(kPrefix), std::string_view(f.name));
  });
  auto aliases = std::ranges::unique(functions, {}, &VdsoSymbol::offset);
  functions.erase(aliases.begin(), aliases.end());
}

}  // namespace

Result<Vdso> parse_vdso(std::span<const std::byte> image) {
  Segments segments = TRY(find_segments(image));
  Vdso vdso;
  vdso.build_id = TRY(find_build_id(image, segments));
  DynamicTables tables = TRY(find_tables(image, segments));
  uint64_t count = TRY(count_symbols(image, tables));
  for (uint64_t i = 1; i < count; ++i) {
    auto symbol = TRY(load<Elf64_Sym>(image, tables.symbols + i * sizeof(Elf64_Sym)));
    // SHN_ABS is the name of a symbol version.
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS) continue;
    unsigned type = ELF64_ST_TYPE(symbol.st_info);
    if (type != STT_FUNC && type != STT_NOTYPE) continue;
    VdsoSymbol function{.name = TRY(load_text(image, tables.strings + symbol.st_name)),
                        .offset = segments.offset(symbol.st_value),
                        .size = symbol.st_size};
    if (!part_of(image, function.offset, function.size))
      return fail(fmt::format("vDSO: {} lies outside", function.name));
    vdso.functions.push_back(std::move(function));
  }
  drop_aliases(vdso.functions);
  return vdso;
}

namespace {

struct SystemCall {
  std::string_view name;
  uint32_t number;
};
constexpr SystemCall kSystemCalls[] = {
    {"clock_gettime", SYS_clock_gettime},
    {"gettimeofday", SYS_gettimeofday},
    {"time", SYS_time},
    {"getcpu", SYS_getcpu},
    {"clock_getres", SYS_clock_getres},
};

// They reach for nothing outside their own text, so they work wherever it lies.
bool stands_alone(std::string_view name) {
  return name == "sgx_enter_enclave" || name == "futex_robust_list32_try_unlock" ||
         name == "futex_robust_list64_try_unlock";
}

// What takes the place of `function` under a kernel that has no such function; empty: it stays.
Result<std::vector<std::byte>> substitute(const VdsoSymbol& function) {
  std::string_view name = short_name(function.name);
  if (name == "getrandom") return getrandom_code(SYS_getrandom);
  auto call = std::ranges::find(kSystemCalls, name, &SystemCall::name);
  if (call != std::end(kSystemCalls)) return system_call_code(call->number);
  if (stands_alone(name)) return std::vector<std::byte>();
  return fail(fmt::format("vDSO: this kernel has no {}, and nothing can stand in for it", function.name));
}

}  // namespace

Result<std::vector<VdsoPatch>> redirect_vdso(const Vdso& before, const Vdso& now, uint64_t now_address) {
  std::vector<VdsoPatch> patches;
  for (size_t i = 0; i < before.functions.size(); ++i) {
    const VdsoSymbol& function = before.functions[i];
    auto match = std::ranges::find_if(now.functions, [&](auto& f) { return same_function(f, function); });
    VdsoPatch patch{.offset = function.offset};
    if (match != now.functions.end())
      patch.bytes = jump_code(now_address + match->offset);
    else
      patch.bytes = TRY(substitute(function));
    if (patch.bytes.empty()) continue;
    if (patch.bytes.size() > function.size)
      return fail(fmt::format("vDSO: {} has {} bytes, too few for the {} that take its place", function.name,
                              function.size, patch.bytes.size()));
    if (i + 1 < before.functions.size() && before.functions[i + 1].offset < function.offset + patch.bytes.size())
      return fail(fmt::format("vDSO: {} overlaps {}", function.name, before.functions[i + 1].name));
    patches.push_back(std::move(patch));
  }
  return patches;
}

uint64_t auxv_entry(std::string_view auxv, uint64_t type) {
  for (size_t at = 0; at + 16 <= auxv.size(); at += 16) {
    uint64_t pair[2];
    std::memcpy(pair, auxv.data() + at, sizeof pair);
    if (pair[0] == type) return pair[1];
  }
  return 0;
}

}  // namespace ks::engine
