// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hearts.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include "base/file.h"
#include "family.h"

namespace ks::test {

namespace {

constexpr size_t kBytes = 4096;
constexpr auto kLimit = 10s;

}  // namespace

Hearts::Hearts(const std::string& file, size_t count) {
  Fd fd = open_file(file, O_RDONLY).value();
  mapping_ = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (mapping_ == MAP_FAILED) std::abort();
  auto* words = static_cast<const std::atomic<uint64_t>*>(mapping_);
  hearts_ = count ? std::span(words, count) : std::span(words + 1, words[0]);
}

Hearts::~Hearts() { ::munmap(mapping_, kBytes); }

bool Hearts::all_beat(pid_t root) const {
  std::vector<uint64_t> before(hearts_.begin(), hearts_.end());
  size_t next = 0;  // the first that has not been seen to beat
  for (auto limit = std::chrono::steady_clock::now() + kLimit * patience();
       std::chrono::steady_clock::now() < limit;) {
    while (next < before.size() && hearts_[next] > before[next]) ++next;
    if (next == before.size()) return true;
    std::this_thread::sleep_for(500us);
  }
  for (size_t i = 0; i < before.size(); ++i)
    if (hearts_[i] == before[i]) std::cout << "heart " << i << " stands still\n";
  std::cout << where_threads_are(root);
  return false;
}

}  // namespace ks::test
