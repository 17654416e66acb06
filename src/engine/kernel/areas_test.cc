// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/features.h"
#include "engine/kernel/proc.h"

namespace ks::engine {
namespace {

constexpr std::string_view kArea =
    "7f5c1a000000-7f5c1a021000 rw-p 00002000 fd:0a 131090                     /usr/lib/x y.so\n"
    "Size:                132 kB\nKernelPageSize:        4 kB\nRss:                   8 kB\nSwap:            "
    "      4 kB\nSwapPss:               4 kB\n"
    "THPeligible:           0\nProtectionKey:         3\nVmFlags: rd wr mr mw me ac sd \n";

TEST(ParseSmaps, ReadsAnArea) {
  auto areas = parse_smaps(kArea);
  ASSERT_TRUE(areas) << areas.error().what;
  ASSERT_EQ(areas->size(), 1u);
  const Vma& area = areas->front();
  EXPECT_EQ(area.start, 0x7f5c1a000000u);
  EXPECT_EQ(area.size(), 0x21000u);
  EXPECT_EQ(area.protection, PROT_READ | PROT_WRITE);
  EXPECT_FALSE(area.shared);
  EXPECT_EQ(area.offset, 0x2000u);
  EXPECT_EQ(area.device_major, 0xfdu);
  EXPECT_EQ(area.device_minor, 10u);
  EXPECT_EQ(area.inode, 131090u);
  EXPECT_EQ(area.path, "/usr/lib/x y.so");
  EXPECT_EQ(area.protection_key, 3);
  EXPECT_EQ(area.populated, 12u << 10);
  EXPECT_EQ(area.flags.size(), 7u);
  EXPECT_TRUE(area.has("sd"));
  EXPECT_FALSE(area.has("gd"));
}

TEST(ParseSmaps, OddAreas) {
  auto areas = parse_smaps(
      "1000-2000 ---p 00000000 00:00 0 \n"
      "2000-3000 r-xs 00000000 00:01 1 /a\\012b\\101\\ (deleted)\n"
      "3000-4000 rwxs 00000000 00:01 1 /memfd: x  (deleted)\n"
      "4000-5000 r--p 00000000 00:00 0 [anon:x y]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\nVmFlags: ex \n");
  ASSERT_TRUE(areas) << areas.error().what;
  ASSERT_EQ(areas->size(), 5u);
  EXPECT_EQ(areas->at(0).protection, PROT_NONE);
  EXPECT_EQ(areas->at(0).path, "");
  EXPECT_TRUE(areas->at(1).shared);
  EXPECT_EQ(areas->at(1).path, "/a\nb\\101\\ (deleted)");
  EXPECT_EQ(areas->at(2).path, "/memfd: x  (deleted)");
  EXPECT_EQ(areas->at(3).path, "[anon:x y]");
  EXPECT_EQ(areas->at(4).end, 0xffffffffff601000u);
}

TEST(ParseSmaps, DamageNamesTheLine) {
  std::string text(kArea);
  auto error = [](std::string_view damaged) {
    auto areas = parse_smaps(damaged);
    return areas ? "" : areas.error().what.substr(0, areas.error().what.find(": "));
  };
  EXPECT_EQ(error("Size: 4 kB\n"), "line 1");
  EXPECT_EQ(error(text + text), "line 10") << "areas go up";
  EXPECT_EQ(error(text + "\n"), "line 10");
  EXPECT_EQ(error("2000-2000 rw-p 00000000 00:00 0 \n"), "line 1");
  EXPECT_EQ(error("3000-2000 rw-p 00000000 00:00 0 \n"), "line 1");
  EXPECT_EQ(error("1000-2000 rw-q 00000000 00:00 0 \n"), "line 1");
  EXPECT_EQ(error("1000-2000 rw-p 00000000 0000 0 \n"), "line 1");
  EXPECT_EQ(error("1000-2000 wr-p 00000000 00:00 0 \n"), "line 1");
  EXPECT_EQ(error("1000-11111111111112000 rw-p 00000000 00:00 0 \n"), "line 1");
  EXPECT_EQ(error("1000-2000 rw-p 00000000 00:00 0 \nProtectionKey: x\n"), "line 2");
  EXPECT_EQ(error("1000-2000 rw-p 00000000 00:00 0 \nRss: 4 MB\n"), "line 2");
  for (size_t length = 0; length < text.size(); ++length) (void)parse_smaps(text.substr(0, length));
}

TEST(ParseSmaps, ReadsTheKernelsOwn) {
  char directory[] = "/tmp/ks-smaps-XXXXXX";
  ASSERT_TRUE(mkdtemp(directory));
  std::string path = std::string(directory) + "/a\nb \\040";
  ASSERT_TRUE(write_all(open_file(path, O_RDWR | O_CREAT)->get(), std::string(8192, 'x'), path));
  Fd fd = *open_file(path, O_RDWR);
  void* named = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 4096);
  *static_cast<char*>(named) = 'y';
  void* locked = mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  madvise(locked, 8192, MADV_DONTFORK);
  auto find = [](const std::vector<Vma>& areas, void* at) {
    auto area = std::ranges::find_if(areas, [&](auto& a) { return a.start <= uint64_t(at) && uint64_t(at) < a.end; });
    return area == areas.end() ? Vma{} : *area;
  };
  auto smaps = parse_smaps(read_file("/proc/self/smaps").value());
  auto maps = parse_maps(read_file("/proc/self/maps").value());
  std::filesystem::remove_all(directory);
  auto after = parse_maps(read_file("/proc/self/maps").value());
  munmap(named, 4096);
  munmap(locked, 8192);

  ASSERT_TRUE(smaps) << smaps.error().what;
  ASSERT_TRUE(maps) << maps.error().what;
  Vma file = find(*smaps, named);
  EXPECT_EQ(file.path, path);
  EXPECT_EQ(find(*maps, named).path, path);
  EXPECT_EQ(find(*after, named).path, path + " (deleted)");
  EXPECT_TRUE(file.shared);
  EXPECT_EQ(file.offset, 4096u);
  EXPECT_EQ(file.populated, 4096u);
  EXPECT_EQ(find(*smaps, locked).populated, 0u);
  EXPECT_TRUE(file.has("sh"));
  EXPECT_TRUE(find(*smaps, locked).has("dc"));
  EXPECT_TRUE(find(*smaps, locked).has("nr"));
  EXPECT_TRUE(std::ranges::any_of(*smaps, [](auto& a) { return a.path == "[vdso]"; }));
}

// As Linux 6.1 shows them.
TEST(NameLockOnFault, WhereNothingElseCanBeMeant) {
  auto flags = [](const char* text) {
    Vma area;
    for (auto word : split_words(text)) area.flags.emplace_back(word);
    std::vector<Vma> areas{area};
    name_lock_on_fault(areas);
    return areas[0].has("lf");
  };
  EXPECT_TRUE(flags("rd wr mr mw me lo ?? ac sd"));
  EXPECT_TRUE(flags("rd mr mw me lo ?? sd"));
  EXPECT_TRUE(flags("rd wr mr mw me lo dc ?? ac sd"));
  EXPECT_TRUE(flags("mr mw me lo ??"));
  EXPECT_FALSE(flags("rd wr mr mw me ac sd"));
  EXPECT_FALSE(flags("rd wr mr mw me ?? ac sd"));
  EXPECT_FALSE(flags("rd wr mr mw me lo ac ?? sd"));
  EXPECT_FALSE(flags("rd wr mr mw me lo ?? ac sd ??"));
  EXPECT_FALSE(flags("?? lo"));
  EXPECT_FALSE(flags(""));
}

// Whatever the kernel calls it.
TEST(NameLockOnFault, OnThisKernel) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  if (mlock2(page, 4096, MLOCK_ONFAULT)) GTEST_SKIP() << "no memory may be locked";
  auto areas = parse_smaps(read_file("/proc/self/smaps").value()).value();
  munmap(page, 4096);
  if (!probe_kernel()->names_lock_on_fault) name_lock_on_fault(areas);
  EXPECT_EQ(std::ranges::count_if(areas, [](auto& area) { return area.has("lf"); }), 1);
}

TEST(ParseMaps, RefusesWhatBelongsToSmaps) {
  EXPECT_FALSE(parse_maps(kArea));
  EXPECT_TRUE(parse_maps(kArea.substr(0, kArea.find('\n') + 1)));
  EXPECT_TRUE(parse_maps("")->empty());
}

// Seconds of CPU time to parse that many areas.
double parsing_takes(uint64_t count) {
  std::string text;
  std::string_view attributes = kArea.substr(kArea.find('\n') + 1);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t start = 0x7f0000000000 + i * 0x2000;
    text += fmt::format("{:x}-{:x} rw-p 00000000 08:01 1234    /usr/lib/libfoo.so.1\n", start, start + 0x1000);
    for (int line = 0; line < 4; ++line) text += attributes;
  }
  timespec begin, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  auto areas = parse_smaps(text);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  EXPECT_EQ(areas ? areas->size() : 0, count);
  return static_cast<double>(end.tv_sec - begin.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);
}

TEST(ParseSmaps, TakesTimeInProportion) {
  double few = parsing_takes(1000), many = parsing_takes(10000);
  EXPECT_LT(many, 40 * few) << "ten times as many areas";
}

}  // namespace
}  // namespace ks::engine
