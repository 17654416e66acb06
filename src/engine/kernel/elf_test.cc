// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>

#include <cstring>
#include <vector>

#include "base/file.h"

namespace ks::engine {
namespace {

using Bytes = std::vector<std::byte>;

Bytes note(uint32_t type, std::string_view name, std::string_view text) {
  Elf64_Nhdr header{.n_namesz = static_cast<Elf64_Word>(name.size()),
                    .n_descsz = static_cast<Elf64_Word>(text.size()),
                    .n_type = type};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  for (std::string_view part : {name, text}) {
    bytes += part;
    bytes.resize((bytes.size() + 3) / 4 * 4);
  }
  auto view = std::as_bytes(std::span(bytes));
  return Bytes(view.begin(), view.end());
}

constexpr std::string_view kGnu("GNU\0", 4);

// As the loader has mapped the notes of this program.
std::string own_build_id() {
  std::string id;
  ::dl_iterate_phdr(
      [](dl_phdr_info* program, size_t, void* into) {
        for (size_t i = 0; i < program->dlpi_phnum; ++i) {
          const auto& segment = program->dlpi_phdr[i];
          if (segment.p_type != PT_NOTE) continue;
          auto* notes = reinterpret_cast<const std::byte*>(program->dlpi_addr + segment.p_vaddr);
          auto found = find_build_id({notes, segment.p_memsz});
          if (found && !found->empty()) *static_cast<std::string*>(into) = *found;
        }
        return 1;  // the program comes first; its libraries do not matter
      },
      &id);
  return id;
}

TEST(BuildId, IsFoundBehindOtherNotes) {
  Bytes notes = note(NT_GNU_ABI_TAG, kGnu, "0123456789abcdef");
  for (std::byte byte : note(NT_GNU_BUILD_ID, kGnu, "\x01\xab\xff")) notes.push_back(byte);
  EXPECT_EQ(find_build_id(notes).value(), "01abff");
}

TEST(BuildId, OfAnotherNameIsNone) {
  EXPECT_EQ(find_build_id(note(NT_GNU_BUILD_ID, std::string_view("Go\0\0", 4), "x")).value(), "");
  EXPECT_EQ(find_build_id({}).value(), "");
}

TEST(BuildId, NoteWithoutEndIsAnError) {
  Bytes notes = note(NT_GNU_BUILD_ID, kGnu, "12345678");
  notes.resize(notes.size() - 4);
  EXPECT_FALSE(find_build_id(notes));
}

TEST(BuildId, OfAFileIsWhatTheLoaderMapped) {
  std::string mapped = own_build_id();
  if (mapped.empty()) GTEST_SKIP() << "built without a build id";
  Fd fd = open_file("/proc/self/exe", O_RDONLY).value();
  EXPECT_EQ(read_build_id(fd.get()), mapped);
}

TEST(BuildId, OfWhatIsNotElfIsNone) {
  for (const char* path : {"/etc/passwd", "/dev/null"})
    EXPECT_EQ(read_build_id(open_file(path, O_RDONLY)->get()), "");
}

}  // namespace
}  // namespace ks::engine
