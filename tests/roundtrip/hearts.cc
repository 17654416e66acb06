// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hearts.h"

#include <fcntl.h>
#include <fmt/format.h>
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

void print_threads(pid_t root) {
  std::vector<pid_t> pids = descendants(root);
  pids.push_back(root);
  for (pid_t pid : pids)
    for (const auto& tid : list_directory(fmt::format("/proc/{}/task", pid)).value_or(std::vector<std::string>{})) {
      std::string task = fmt::format("/proc/{}/task/{}/", pid, tid);
      std::cout << pid << "/" << tid << ": " << read_file(task + "wchan").value_or("") << ' '
                << read_file(task + "syscall").value_or("\n");
    }
}

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
  print_threads(root);
  return false;
}

}  // namespace ks::test
