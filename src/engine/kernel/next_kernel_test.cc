// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/next_kernel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <filesystem>
#include <span>

#include "base/file.h"
#include "engine/kernel/boot_image.h"
#include "engine/kernel/ring_layout.h"
#include "small_kernel.h"

namespace ks::engine {
namespace {

constexpr const char* kRelease = "6.12.95+deb12-cloud-amd64";

NextKernel kernel_of(const std::string& file) { return engine::kernel_of(file, "/boot/vmlinuz"); }

std::string trouble_with(const std::string& file) {
  auto facts = kernel_of(file).facts();
  return facts ? "" : facts.error().what;
}

std::string elf() { return elf_with(".BTF", RingTypes().text()); }

TEST(NextKernel, TellsItsTypesHoweverItIsPacked) {
  for (auto pack : kPackers) {
    NextKernel kernel = kernel_of(boot_image(kRelease, pack(elf()))), copy = kernel;
    ASSERT_TRUE(kernel.facts()) << kernel.facts().error().what;
    EXPECT_EQ(kernel.facts()->release, kRelease);
    EXPECT_EQ(kernel.facts()->types.offset("io_rings", "sq_flags").value(), 36u);
    EXPECT_EQ(kernel.facts()->types.size("io_rings").value(), 64u);
    EXPECT_EQ(kernel.facts()->types.enumeration_with("IORING_OP_READV")->at("IORING_OP_NOP"), 0);
    EXPECT_FALSE(kernel.facts()->types.enumeration_with("IORING_OP_WRITEV"));
    EXPECT_EQ(&copy.facts(), &kernel.facts());  // read once
  }
}

TEST(NextKernel, OfWhichNothingIsKnownSaysWhy) {
  NextKernel kernel = NextKernel::unknown("somebody else has loaded it");
  EXPECT_EQ(kernel.facts().error().what, "somebody else has loaded it");
  EXPECT_EQ(kernel.takes_rings().error().what,
            "how the next kernel lays out rings is not known: somebody else has loaded it");
}

TEST(NextKernel, IsNoneThatCannotBeRead) {
  EXPECT_EQ(trouble_with(""), "/boot/vmlinuz: no kernel that tells what is in it (bzImage)");
  EXPECT_EQ(trouble_with(elf()), "/boot/vmlinuz: no kernel that tells what is in it (bzImage)");
  EXPECT_EQ(trouble_with(boot_image(kRelease, "BZh91AY&SY..")),
            "/boot/vmlinuz: packed by bzip2, which is not supported yet");
  EXPECT_EQ(trouble_with(boot_image(kRelease, "............")), "/boot/vmlinuz: packed in an unknown way");
  EXPECT_EQ(trouble_with(boot_image(kRelease, packed_by_gzip("not this"))), "/boot/vmlinuz: not ELF");
  EXPECT_EQ(trouble_with(boot_image(kRelease, packed_by_gzip(elf_with(".data", "x")))),
            "/boot/vmlinuz: it has no section .BTF");
  EXPECT_NE(trouble_with(boot_image(kRelease, packed_by_gzip(elf_with(".BTF", "x")))).find("BTF"), std::string::npos);
}

TEST(NextKernel, ThatClaimsToBeHugeTakesNoMemory) {
  std::string packed = packed_by_zstd("x");
  packed.replace(packed.size() - 4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(trouble_with(boot_image(kRelease, packed)), "/boot/vmlinuz: unpacked it would have 4294967295 bytes");
  Fd large(::memfd_create("kernel", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(large.get(), off_t{1} << 40), 0);
  EXPECT_EQ(NextKernel::of_file(std::move(large), "x").facts().error().what, "x: too large for a kernel");
}

TEST(NextKernel, IsNotTakenHalf) {
  for (auto pack : kPackers) {
    std::string whole = pack(elf());
    for (size_t size = 0; size < whole.size(); size += 7)
      EXPECT_NE(trouble_with(boot_image(kRelease, whole.substr(0, size))), "") << size;
    std::string image = boot_image(kRelease, whole);
    for (size_t size = 0; size + whole.size() / 2 < image.size(); size += 13)
      EXPECT_NE(trouble_with(image.substr(0, size)), "") << size;
    EXPECT_NE(trouble_with(boot_image(kRelease, pack(elf().substr(0, 100)))), "");
  }
}

// Whatever a byte is changed to, it ends with facts or with a reason. (Of zstd nothing has a checksum here.)
TEST(NextKernel, DamagedIsNoDanger) {
  const std::string types = RingTypes().text();
  for (size_t at = 0; at < types.size(); ++at)
    for (char bits : {'\x01', '\x80', '\xff'}) {
      std::string damaged = types;
      damaged[at] = static_cast<char>(damaged[at] ^ bits);
      auto parsed = KernelTypes::parse(std::as_bytes(std::span(damaged)));
      if (!parsed) continue;
      (void)parsed->offset("io_rings", "cq_flags");
      (void)parsed->offset("io_rings", "nothing");
      (void)parsed->enumeration_with("IORING_OP_READV");
    }
  for (auto pack : kPackers) {
    const std::string whole = boot_image(kRelease, pack(elf()));
    for (size_t at = 0x1f1; at < whole.size(); at = at == 0x270 ? 0xa00 : at + 1) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(~damaged[at]);
      (void)trouble_with(damaged);
    }
  }
}

// Those of this machine, and of the guest that tests/vm runs, if they are here.
std::vector<std::string> real_kernels() {
  std::vector<std::string> found;
  const char* home = ::getenv("HOME");
  std::error_code error;
  for (const std::filesystem::path& place :
       {std::filesystem::path("/boot"), std::filesystem::path(home ? home : "/root") / ".cache/kernel-swap"})
    for (auto entry = std::filesystem::recursive_directory_iterator(place, error);
         !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error))
      if (entry->path().filename().string().starts_with("vmlinuz-") && entry->is_regular_file(error))
        found.push_back(entry->path());
  return found;
}

TEST(NextKernel, OfDebianTellsItsTypes) {
  std::map<std::string, std::string> by_release;
  for (const std::string& path : real_kernels())
    by_release.emplace(std::filesystem::path(path).filename().string().substr(std::string_view("vmlinuz-").size()),
                       path);
  if (by_release.empty()) GTEST_SKIP() << "no kernel's file is here";
  std::map<std::string, NextKernel::Facts> known;
  for (const auto& [release, path] : by_release) {
    auto facts = NextKernel::of_file(open_file(path, O_RDONLY).value(), path).facts();
    ASSERT_TRUE(facts) << facts.error().what;
    EXPECT_EQ(facts->release, release);
    EXPECT_TRUE(facts->types.offset("io_rings", "cqes")) << path;
    EXPECT_TRUE(facts->types.enumeration_with("IORING_OP_NOP")) << path;
    EXPECT_TRUE(facts->types.enumeration_with("IORING_REGISTER_BUFFERS")) << path;
    known.emplace(release, *facts);
  }
  // As is known of those that tests/vm has: 6.1 is one of its own.
  for (const auto& [one, older] : known)
    for (const auto& [other, newer] : known) {
      bool is_first = one.starts_with("6.1."), is_other_first = other.starts_with("6.1.");
      if (!is_at_least(one, "6.1") || !is_at_least(other, one)) continue;
      auto kept = check_succession(older.types, newer.types);
      EXPECT_EQ(kept.has_value(), is_first == is_other_first)
          << one << " " << other << (kept ? "" : kept.error().what);
    }
}

}  // namespace
}  // namespace ks::engine
