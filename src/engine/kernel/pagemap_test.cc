// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/pagemap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tuple>

#include "base/file.h"

namespace ks::engine {
namespace {

constexpr int kMadviseGuardInstall = 102;  // MADV_GUARD_INSTALL, since 6.13
constexpr uint64_t kHugePage = 2 << 20;

using Runs = std::vector<PageRun>;

class Area {
 public:
  explicit Area(uint64_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) : size_(pages * kPageSize) {
    start_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, flags, fd, 0));
    EXPECT_NE(start_, MAP_FAILED);
    madvise(start_, size_, MADV_NOHUGEPAGE);
  }
  ~Area() { munmap(start_, size_); }
  char* page(uint64_t n) const { return start_ + n * kPageSize; }
  void write(uint64_t n) const { *page(n) = 'x'; }
  void read(uint64_t n) const { [[maybe_unused]] char seen = *static_cast<volatile char*>(page(n)); }
  uint64_t start() const { return reinterpret_cast<uint64_t>(start_); }
  uint64_t size() const { return size_; }

 private:
  char* start_;
  uint64_t size_;
};

// Every case with PAGEMAP_SCAN and with plain entries, which must agree.
class FindPages : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    kernel_ = probe_kernel().value();
    if (geteuid() != 0) GTEST_SKIP() << "frame numbers are shown to root only";
    if (GetParam() && !kernel_.pagemap_scan) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
    kernel_.pagemap_scan = GetParam();
    pagemap_ = open_file("/proc/self/pagemap", O_RDONLY).value();
  }
  // In pages from the start of the area.
  Runs find(const Area& area, bool page_cache = false) {
    auto runs = find_pages(kernel_, pagemap_.get(), area.start(), area.start() + area.size(), page_cache);
    EXPECT_TRUE(runs) << runs.error().what;
    for (PageRun& run : *runs) run = {(run.start - area.start()) / kPageSize, (run.end - area.start()) / kPageSize};
    return *runs;
  }
  Kernel kernel_;
  Fd pagemap_;
};

TEST_P(FindPages, WrittenOnesAndNotTheZeroPage) {
  Area area(16);
  for (uint64_t page : {0, 1, 5, 15}) area.write(page);
  for (uint64_t page : {2, 3, 9}) area.read(page);
  EXPECT_EQ(find(area), (Runs{{0, 2}, {5, 6}, {15, 16}}));
}

TEST_P(FindPages, NoneInAnUntouchedArea) { EXPECT_EQ(find(Area(1000)), Runs{}); }

TEST_P(FindPages, WhatIsNotReadableToo) {
  Area area(4);
  area.write(1);
  ASSERT_EQ(mprotect(area.page(0), area.size(), PROT_NONE), 0);
  EXPECT_EQ(find(area), (Runs{{1, 2}}));
}

TEST_P(FindPages, OnlyCopiesInAPrivateFileMapping) {
  Fd file(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 6 * kPageSize), 0);
  ASSERT_TRUE(write_all(file.get(), std::string(4 * kPageSize, 'f'), "memfd"));
  Area area(6, MAP_PRIVATE, file.get());
  for (uint64_t page : {0, 1, 3, 5}) area.read(page);
  area.write(2);
  EXPECT_EQ(find(area), (Runs{{2, 3}}));
}

TEST_P(FindPages, PageCacheInSharedMemory) {
  Area area(8, MAP_SHARED | MAP_ANONYMOUS);
  area.write(0);
  area.write(4);
  EXPECT_EQ(find(area, true), (Runs{{0, 1}, {4, 5}}));
  EXPECT_EQ(find(area, false), Runs{});
}

TEST_P(FindPages, NoGuardPages) {
  Area area(8);
  for (uint64_t page = 0; page < 8; ++page) area.write(page);
  if (madvise(area.page(2), 3 * kPageSize, kMadviseGuardInstall)) GTEST_SKIP() << "this kernel has no guard pages";
  if (!kernel_.pagemap_guard) GTEST_SKIP() << "this kernel does not tell guard pages";
  EXPECT_EQ(find(area), (Runs{{0, 2}, {5, 8}}));
}

TEST_P(FindPages, GuardsWhereAsked) {
  Area area(8);
  area.write(3);
  if (madvise(area.page(2), 3 * kPageSize, kMadviseGuardInstall) ||
      madvise(area.page(7), kPageSize, kMadviseGuardInstall))
    GTEST_SKIP() << "this kernel has no guard pages";
  if (!kernel_.pagemap_guard) GTEST_SKIP() << "this kernel does not tell guard pages";
  auto guards = find_guards(kernel_, pagemap_.get(), area.start(), area.start() + area.size());
  ASSERT_TRUE(guards) << guards.error().what;
  auto page = [&](uint64_t n) { return area.start() + n * kPageSize; };
  EXPECT_EQ(*guards, (Runs{{page(2), page(5)}, {page(7), page(8)}}));
}

TEST_P(FindPages, NotTheHugeZeroPage) {
  Area area(3 * kHugePage / kPageSize);
  uint64_t first = (kHugePage - area.start() % kHugePage) % kHugePage / kPageSize;
  ASSERT_EQ(madvise(area.page(0), area.size(), MADV_HUGEPAGE), 0);
  area.read(first);
  area.read(first + 7);
  EXPECT_EQ(find(area), Runs{});
  area.write(first + 512);
  Runs runs = find(area);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].start, first + 512);
}

TEST_P(FindPages, MoreRunsThanOneCallTells) {
  Area area(20001);
  for (uint64_t page = 0; page < 20001; page += 2) area.write(page);
  Runs runs = find(area);
  ASSERT_EQ(runs.size(), 10001u);
  for (uint64_t i = 0; i < runs.size(); ++i) ASSERT_EQ(runs[i], (PageRun{2 * i, 2 * i + 1}));
}

TEST_P(FindPages, ARunIsOneAlsoAcrossCalls) {
  Area area(70000);
  for (uint64_t page = 0; page < 70000; ++page) area.write(page);
  EXPECT_EQ(find(area), (Runs{{0, 70000}}));
}

TEST_P(FindPages, AnUnknownZeroPageIsData) {
  kernel_.zero_frame = 0;
  if (GetParam()) GTEST_SKIP() << "PAGEMAP_SCAN tells zero pages by itself";
  Area area(2);
  area.read(0);
  EXPECT_EQ(find(area), (Runs{{0, 1}}));
}

TEST_P(FindPages, OddRanges) {
  EXPECT_TRUE(find_pages(kernel_, pagemap_.get(), 4096, 4096, false)->empty());
  EXPECT_TRUE(find_pages(kernel_, pagemap_.get(), 8192, 4096, false)->empty());
  EXPECT_EQ(find_pages(kernel_, pagemap_.get(), 1, 4096, false).error().code, EINVAL);
  EXPECT_FALSE(find_pages(kernel_, -1, 0, 4096, false));
}

INSTANTIATE_TEST_SUITE_P(Ways, FindPages, testing::Bool(),
                         [](auto& info) { return info.param ? "Scan" : "Entries"; });

TEST(ProbeKernel, KnowsTheRunningOne) {
  auto kernel = probe_kernel();
  ASSERT_TRUE(kernel) << kernel.error().what;
  EXPECT_EQ(kernel->release + "\n", read_file("/proc/sys/kernel/osrelease").value());
  EXPECT_TRUE(kernel->time_namespace);
  EXPECT_TRUE(kernel->checkpoint_restore);
  EXPECT_EQ(kernel->zero_frame != 0, geteuid() == 0);
  EXPECT_EQ(kernel->zero_frame, probe_kernel()->zero_frame);
  EXPECT_EQ(kernel->huge_zero_frame, probe_kernel()->huge_zero_frame);
}

}  // namespace
}  // namespace ks::engine
