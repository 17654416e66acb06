// SPDX-License-Identifier: LGPL-2.1-or-later
// Much of everything: 150 threads, 800 descriptors, 1000 areas. With "spread" descriptors alone, 800 in each of four
// processes: more than any of them has.
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <thread>
#include <vector>

#include "program.h"

static std::vector<int> events, files;

static void open_many() {
  for (int i = 0; i < 400; ++i) events.push_back(eventfd(static_cast<unsigned>(i), 0));
  for (int i = 0; i < 400; ++i) {
    files.push_back(open("/proc/self/exe", O_RDONLY));
    CHECK(files.back() >= 0 && lseek(files.back(), i, SEEK_SET) == i);
  }
}
static void check_many() {
  for (int i = 0; i < 400; ++i) {
    uint64_t count = 0;
    if (i) CHECK(read(events[static_cast<size_t>(i)], &count, 8) == 8);
    CHECK(count == static_cast<uint64_t>(i) && lseek(files[static_cast<size_t>(i)], 0, SEEK_CUR) == i);
  }
}

static int spread() {
  int opened = eventfd(0, EFD_SEMAPHORE);
  uint64_t one = 1;
  for (int i = 0; i < 3; ++i)
    fork_to([&] {
      open_many();
      CHECK(write(opened, &one, 8) == 8);
      wait_until_told();
      check_many();
    });
  open_many();
  for (int i = 0; i < 3; ++i) CHECK(read(opened, &one, 8) == 8);
  ready();
  check_many();
  for (int i = 0, status; i < 3; ++i) CHECK(wait(&status) > 0 && status == 0);
  return 0;
}

int main(int count, char**) {
  rlimit limit{4096, 4096};
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  if (count > 1) return spread();
  open_many();
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
  check_many();
  uint64_t all = threads.size();
  CHECK(write(go, &all, 8) == 8);
  for (auto& thread : threads) thread.join();
  return 0;
}
