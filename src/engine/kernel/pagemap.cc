// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/pagemap.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/file.h"

namespace ks::engine {

namespace {

// Layout of struct pm_scan_arg and struct page_region, linux/fs.h since 6.7.
struct ScanArgument {
  uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  uint64_t start, end, categories;
};
static_assert(sizeof(ScanArgument) == 96);
static_assert(sizeof(ScanRegion) == 24);
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);

constexpr uint64_t kIsFile = 1 << 2, kIsPresent = 1 << 3, kIsSwapped = 1 << 4, kIsZero = 1 << 5, kIsHuge = 1 << 6,
                   kIsGuard = 1 << 8;

// An entry of /proc/PID/pagemap. Frames are shown only to CAP_SYS_ADMIN.
struct Entry {
  uint64_t bits;
  bool present() const { return bits >> 63 & 1; }
  bool swapped() const { return bits >> 62 & 1; }
  bool file() const { return bits >> 61 & 1; }
  bool guard() const { return bits >> 58 & 1; }
  uint64_t frame() const { return bits & ((uint64_t{1} << 55) - 1); }
};
constexpr uint64_t kFramesPerHugePage = 512;

bool is_zero_page(const Kernel& kernel, Entry entry) {
  if (!entry.present() || entry.frame() == 0) return false;
  if (entry.frame() == kernel.zero_frame) return true;
  return kernel.huge_zero_frame != 0 &&
         entry.frame() / kFramesPerHugePage == kernel.huge_zero_frame / kFramesPerHugePage;
}

void add_run(std::vector<PageRun>& runs, uint64_t start, uint64_t end) {
  if (!runs.empty() && runs.back().end == start)
    runs.back().end = end;
  else
    runs.push_back({start, end});
}

// The entries of a hole are all alike; which bits they have differs.
bool is_hole(std::span<const Entry> entries) {
  Entry first = entries.front();
  return !first.present() && !first.swapped() &&
         std::memcmp(entries.data(), entries.data() + 1, entries.size_bytes() - sizeof first) == 0;
}

Result<> read_entries(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end, bool page_cache,
                      std::vector<PageRun>& runs) {
  std::vector<Entry> entries(std::min<uint64_t>((end - start) / kPageSize, 65536));
  for (uint64_t address = start; address < end;) {
    auto part = std::span(entries).first(std::min<uint64_t>(entries.size(), (end - address) / kPageSize));
    TRY(read_exactly_at(pagemap, std::as_writable_bytes(part), address / kPageSize * sizeof(Entry), "pagemap"));
    while (!part.empty()) {
      // Of a large area most is holes.
      auto some = part.first(std::min<size_t>(part.size(), 512));
      part = part.subspan(some.size());
      if (is_hole(some)) {
        address += some.size() * kPageSize;
        continue;
      }
      for (Entry entry : some) {
        if ((entry.present() || entry.swapped()) && (page_cache || !entry.file()) && !entry.guard() &&
            !is_zero_page(kernel, entry))
          add_run(runs, address, address + kPageSize);
        address += kPageSize;
      }
    }
  }
  return {};
}

// `argument` says which categories are wanted.
Result<std::vector<ScanRegion>> scan(int pagemap, uint64_t start, uint64_t end, ScanArgument argument) {
  std::vector<ScanRegion> found, regions(std::min<uint64_t>((end - start) / kPageSize, 4096));
  argument.size = sizeof argument;
  argument.end = end;
  argument.regions = reinterpret_cast<uint64_t>(regions.data());
  argument.region_count = regions.size();
  for (uint64_t address = start; address < end;) {
    argument.start = address;
    int count = ::ioctl(pagemap, kPagemapScan, &argument);
    if (count < 0) return fail_errno("PAGEMAP_SCAN");
    found.insert(found.end(), regions.begin(), regions.begin() + count);
    // Linux 6.18 leaves walk_end at where an inner buffer was last full, although regions beyond it
    // were told too.
    uint64_t next = argument.walk_end;
    if (count > 0) next = std::max(next, regions[static_cast<size_t>(count) - 1].end);
    if (next <= address) return fail("PAGEMAP_SCAN: made no progress");
    address = next;
  }
  return found;
}

Result<> scan_pages(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end, bool page_cache,
                    std::vector<PageRun>& runs) {
  uint64_t unwanted = kIsZero | (page_cache ? 0 : kIsFile) | (kernel.pagemap_guard ? kIsGuard : 0);
  ScanArgument wanted = {.category_inverted = unwanted,
                         .category_mask = unwanted,
                         .category_anyof_mask = kIsPresent | kIsSwapped,
                         .return_mask = kIsHuge};
  for (const ScanRegion& region : TRY(scan(pagemap, start, end, wanted))) {
    // Kernels differ in whether they tell the huge zero page here.
    if (region.categories & kIsHuge && kernel.huge_zero_frame != 0)
      TRY(read_entries(kernel, pagemap, region.start, region.end, page_cache, runs));
    else
      add_run(runs, region.start, region.end);
  }
  return {};
}

// An own mapping, aligned to `size`, that is only read, so that a zero page backs it.
class ZeroMapping {
 public:
  ZeroMapping(size_t size, int advice) : size_(2 * size) {
    start_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start_ == MAP_FAILED) return;
    address_ = (reinterpret_cast<uint64_t>(start_) + size - 1) / size * size;
    ::madvise(reinterpret_cast<void*>(address_), size, advice);
  }
  ZeroMapping(const ZeroMapping&) = delete;
  ZeroMapping& operator=(const ZeroMapping&) = delete;
  ~ZeroMapping() {
    if (start_ != MAP_FAILED) ::munmap(start_, size_);
  }

  Result<uint64_t> frame(int pagemap) const {
    if (start_ == MAP_FAILED) return fail("mmap", ENOMEM);
    [[maybe_unused]] char seen = *reinterpret_cast<const volatile char*>(address_);
    Entry entry;
    TRY(read_exactly_at(pagemap, std::as_writable_bytes(std::span(&entry, 1)), address_ / kPageSize * sizeof entry,
                        "pagemap"));
    return entry.frame();
  }

 private:
  void* start_;
  size_t size_;
  uint64_t address_ = 0;
};

// The frame that backs two mappings at once, which only a shared page does; 0 where there is none. A kernel
// that is told not to use a huge zero page backs each with a page of its own.
Result<uint64_t> probe_zero_frame(int pagemap, size_t size, int advice) {
  ZeroMapping one(size, advice), other(size, advice);
  uint64_t frame = TRY(one.frame(pagemap));
  return frame == TRY(other.frame(pagemap)) ? frame : 0;
}

}  // namespace

Result<> probe_pagemap(Kernel& kernel) {
  Fd pagemap = TRY(open_file("/proc/self/pagemap", O_RDONLY));
  kernel.zero_frame = TRY(probe_zero_frame(pagemap.get(), kPageSize, MADV_NOHUGEPAGE));
  // A process that has touched the huge zero page holds it until it ends.
  kernel.huge_zero_frame = TRY(probe_zero_frame(pagemap.get(), kFramesPerHugePage * kPageSize, MADV_HUGEPAGE));
  if (kernel.huge_zero_frame == kernel.zero_frame) kernel.huge_zero_frame = 0;

  auto scans = [&](uint64_t category) {
    ScanRegion region;
    auto own = reinterpret_cast<uint64_t>(&region) / kPageSize * kPageSize;
    ScanArgument argument = {.size = sizeof argument,
                             .start = own,
                             .end = own + kPageSize,
                             .regions = reinterpret_cast<uint64_t>(&region),
                             .region_count = 1,
                             .category_anyof_mask = category,
                             .return_mask = category};
    return ::ioctl(pagemap.get(), kPagemapScan, &argument) >= 0;
  };
  kernel.pagemap_scan = scans(kIsPresent);
  kernel.pagemap_guard = scans(kIsGuard);
  return {};
}

Result<std::vector<PageRun>> find_pages(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end,
                                        bool page_cache) {
  std::vector<PageRun> runs;
  if (start >= end) return runs;
  if (start % kPageSize != 0 || end % kPageSize != 0) return fail("pagemap: not at a page boundary", EINVAL);
  if (kernel.pagemap_scan)
    TRY(scan_pages(kernel, pagemap, start, end, page_cache, runs));
  else
    TRY(read_entries(kernel, pagemap, start, end, page_cache, runs));
  return runs;
}

Result<> identify_pages(int pagemap, uint64_t start, std::span<uint64_t> pages) {
  TRY(read_exactly_at(pagemap, std::as_writable_bytes(pages), start / kPageSize * sizeof(Entry), "pagemap"));
  for (uint64_t& page : pages) {
    Entry entry{page};
    bool any = (entry.present() || entry.swapped()) && !entry.file() && !entry.guard() && entry.frame() != 0;
    page = any ? entry.frame() | uint64_t{entry.present()} << 63 | uint64_t{entry.swapped()} << 62 : 0;
  }
  return {};
}

Result<std::vector<PageRun>> find_guards(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end) {
  std::vector<PageRun> runs;
  if (start >= end || !kernel.pagemap_guard) return runs;
  ScanArgument wanted = {.category_mask = kIsGuard, .return_mask = kIsGuard};
  for (const ScanRegion& region : TRY(scan(pagemap, start, end, wanted))) add_run(runs, region.start, region.end);
  return runs;
}

}  // namespace ks::engine
