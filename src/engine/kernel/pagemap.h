// SPDX-License-Identifier: LGPL-2.1-or-later
// Which pages of an area hold data that no file holds (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/features.h"

namespace ks::engine {

inline constexpr uint64_t kPageSize = 4096;

// A run of whole pages.
struct PageRun {
  uint64_t start = 0, end = 0;
  bool operator==(const PageRun&) const = default;
};

// Runs in [start, end) that are present or swapped out and not the shared zero page. With `page_cache`, pages
// of a file count too: for shared anonymous memory they are the data itself, but only what this process has
// touched (all of a shmem object is found by SEEK_DATA on its file). An area that can have none, being
// private and anonymous, is best asked for with it: sparing the look at what each page is makes a scan four
// times as fast. Guard pages (since 6.13) hold nothing and are left out; 6.13 and 6.14 do not tell them from
// pages that are swapped out.
Result<std::vector<PageRun>> find_pages(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end,
                                        bool page_cache);

// Runs of guard pages in [start, end) (madvise(2), MADV_GUARD_INSTALL). Nothing is told of them before 6.15.
Result<std::vector<PageRun>> find_guards(const Kernel& kernel, int pagemap, uint64_t start, uint64_t end);

// Of every page from `start` on which one it is: equal numbers, at one moment, are one page of memory or of swap;
// 0 where there is none, where it is a file's, and where frame numbers are not shown. The kernel may move a page at
// any moment and give its frame to another.
Result<> identify_pages(int pagemap, uint64_t start, std::span<uint64_t> pages);

// Fills in what `kernel` says of page maps.
Result<> probe_pagemap(Kernel& kernel);

}  // namespace ks::engine
