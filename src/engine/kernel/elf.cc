// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/elf.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/file.h"

namespace ks::engine {

namespace {

constexpr size_t kMostSegments = 1024, kMostNoteBytes = 64 * 1024;  // of files as linkers make them: 15, and 100

uint64_t padded(uint64_t size) { return (size + 3) & ~uint64_t{3}; }

}  // namespace

std::optional<std::span<const std::byte>> part_of(std::span<const std::byte> image, uint64_t offset, uint64_t size) {
  if (offset > image.size() || size > image.size() - offset) return std::nullopt;
  return image.subspan(offset, size);
}

Result<std::string> find_build_id(std::span<const std::byte> notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    uint64_t name_at = sizeof note, text_at = name_at + padded(note.n_namesz);
    auto name = part_of(notes, name_at, note.n_namesz);
    auto text = part_of(notes, text_at, note.n_descsz);
    if (!name || !text) return fail("a note has no end");
    if (note.n_type == NT_GNU_BUILD_ID && name->size() == 4 && std::memcmp(name->data(), "GNU", 4) == 0) {
      std::string id;
      for (std::byte byte : *text) id += fmt::format("{:02x}", static_cast<unsigned>(byte));
      return id;
    }
    notes = notes.subspan(std::min<uint64_t>(notes.size(), text_at + padded(note.n_descsz)));
  }
  return std::string();
}

Result<std::span<const std::byte>> find_section(std::span<const std::byte> image, std::string_view name) {
  Elf64_Ehdr header;
  if (image.size() < sizeof header) return fail("not ELF");
  std::memcpy(&header, image.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_shentsize != sizeof(Elf64_Shdr))
    return fail("not ELF");
  auto table = part_of(image, header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr));
  if (!table || header.e_shstrndx >= header.e_shnum) return fail("its table of sections is not there");
  auto section_at = [&](size_t number) {
    Elf64_Shdr section;
    std::memcpy(&section, table->data() + number * sizeof section, sizeof section);
    return section;
  };
  Elf64_Shdr names_at = section_at(header.e_shstrndx);
  auto names = part_of(image, names_at.sh_offset, names_at.sh_size);
  if (!names) return fail("its names of sections are not there");
  for (size_t number = 0; number < header.e_shnum; ++number) {
    Elf64_Shdr section = section_at(number);
    auto found = part_of(*names, section.sh_name, name.size() + 1);
    if (!found || found->back() != std::byte{} || std::memcmp(found->data(), name.data(), name.size()) != 0) continue;
    auto content = part_of(image, section.sh_offset, section.sh_size);
    if (!content || section.sh_type == SHT_NOBITS) return fail("its section " + std::string(name) + " is not there");
    return *content;
  }
  return fail("it has no section " + std::string(name));
}

std::string read_build_id(int fd) {
  auto read = [fd](void* into, size_t bytes, uint64_t offset) {
    return read_exactly_at(fd, {static_cast<std::byte*>(into), bytes}, offset, "ELF").has_value();
  };
  Elf64_Ehdr header;
  if (!read(&header, sizeof header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr) ||
      header.e_phnum > kMostSegments)
    return "";
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (!read(segments.data(), segments.size() * sizeof(Elf64_Phdr), header.e_phoff)) return "";
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMostNoteBytes) continue;
    std::vector<std::byte> notes(segment.p_filesz);
    if (!read(notes.data(), notes.size(), segment.p_offset)) continue;
    if (auto id = find_build_id(notes); id && !id->empty()) return *id;
  }
  return "";
}

}  // namespace ks::engine
