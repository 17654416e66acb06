// SPDX-License-Identifier: LGPL-2.1-or-later
// Much of everything: 150 threads, 800 descriptors, 1000 areas.
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <thread>
#include <vector>

#include "program.h"

int main() {
  rlimit limit{4096, 4096};
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  std::vector<int> events, files;
  for (int i = 0; i < 400; ++i) events.push_back(eventfd(static_cast<unsigned>(i), 0));
  for (int i = 0; i < 400; ++i) {
    files.push_back(open("/proc/self/exe", O_RDONLY));
    CHECK(files.back() >= 0 && lseek(files.back(), i, SEEK_SET) == i);
  }
  char* areas = map_memory(2000 * kPage);
  for (size_t i = 0; i < 2000; i += 2) {
    fill_page(areas + i * kPage, i);
    CHECK(mprotect(areas + i * kPage, kPage, PROT_READ) == 0);
  }
  int go = eventfd(0, EFD_SEMAPHORE);
  std::vector<std::thread> threads;
  std::vector<long> tids(150);
  for (size_t i = 0; i < tids.size(); ++i)
    threads.emplace_back([&, i] {
      tids[i] = syscall(SYS_gettid);
      uint64_t one;
      CHECK(read(go, &one, 8) == 8 && syscall(SYS_gettid) == tids[i]);
    });
  ready();
  for (size_t i = 0; i < 2000; ++i) CHECK(i % 2 ? page_is_zero(areas + i * kPage) : page_is(areas + i * kPage, i));
  for (int i = 0; i < 400; ++i) {
    uint64_t count = 0;
    if (i) CHECK(read(events[static_cast<size_t>(i)], &count, 8) == 8);
    CHECK(count == static_cast<uint64_t>(i) && lseek(files[static_cast<size_t>(i)], 0, SEEK_CUR) == i);
  }
  uint64_t all = threads.size();
  CHECK(write(go, &all, 8) == 8);
  for (auto& thread : threads) thread.join();
  return 0;
}
