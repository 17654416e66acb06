// SPDX-License-Identifier: LGPL-2.1-or-later
// Pages that processes share since a fork stay one page in memory: between parent, child and grandchild; in what
// only some have written to since; when the parent has other pages by now, or has unmapped its own, or has ended;
// in a private mapping of a file; in huge pages. By argument: "parent", "orphans" (the parent is gone), "huge".
#include <sys/prctl.h>

#include <algorithm>

#include "program.h"

static constexpr size_t kPages = 64, kWhole = kPages * kPage;

struct Member {
  pid_t pid;
  bool settled;
  uint64_t seeds[3 * kPages];  // of the pages of the three areas; 0: not mapped, 1: zeros
};
// What all know.
struct Common {
  Member members[8];
  int count;
  bool finish;
  char* areas[3];  // anonymous, of a file, to be unmapped by some
};
static Common* common;

static uint64_t frame(pid_t pid, const char* page) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/pagemap", pid);
  int fd = open(name, O_RDONLY);
  uint64_t entry = 0;
  CHECK(fd >= 0 && pread(fd, &entry, 8, static_cast<off_t>(reinterpret_cast<uintptr_t>(page) / kPage * 8)) == 8);
  close(fd);
  return entry & ((uint64_t{1} << 55) - 1);
}

static void write_pages(Member& self, int area, size_t first, size_t last, uint64_t seed) {
  for (size_t i = first; i < last; ++i) {
    fill_page(common->areas[area] + i * kPage, seed + i);
    self.seeds[static_cast<size_t>(area) * kPages + i] = seed + i;
  }
}
static Member& join() {
  Member& self = common->members[__atomic_fetch_add(&common->count, 1, __ATOMIC_SEQ_CST)];
  self.pid = getpid();
  return self;
}
static Member& inherit(const Member& parent) {
  Member& self = join();
  memcpy(self.seeds, parent.seeds, sizeof self.seeds);
  return self;
}
static void verify(const Member& self) {
  for (size_t i = 0; i < 3 * kPages; ++i) {
    const char* page = common->areas[i / kPages] + i % kPages * kPage;
    if (self.seeds[i] > 1) CHECK(page_is(page, self.seeds[i]));
    if (self.seeds[i] == 1) CHECK(page_is_zero(page));
  }
  if (self.seeds[0] > 1) fill_page(common->areas[0], 12345);
}
static pid_t fork_child(const Member& parent, void (*live)(Member&)) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    Member& self = inherit(parent);
    live(self);
    __atomic_store_n(&self.settled, true, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&common->finish, __ATOMIC_SEQ_CST)) usleep(1000);
    verify(self);
    _exit(0);
  }
  for (bool settled = false; !settled; usleep(1000))
    for (Member& member : common->members)
      settled |= member.pid == child && __atomic_load_n(&member.settled, __ATOMIC_SEQ_CST);
  return child;
}

static void grandchild(Member& self) {
  write_pages(self, 0, 10, 20, 4000);
  CHECK(munmap(common->areas[2] + 8 * kPage, 8 * kPage) == 0);
  std::fill_n(self.seeds + 2 * kPages + 8, 8, 0);
}
static void child(Member& self) {
  write_pages(self, 0, 5, 12, 3000);
  write_pages(self, 1, 0, 4, 3500);
  CHECK(madvise(common->areas[2], 4 * kPage, MADV_DONTNEED) == 0);
  std::fill_n(self.seeds + 2 * kPages, 4, 1);
  CHECK(mprotect(common->areas[0] + 32 * kPage, 16 * kPage, PROT_READ) == 0);
  fork_child(self, grandchild);
  write_pages(self, 0, 20, 24, 3200);  // the grandchild keeps what was there
}

// Every page has the same content wherever it has one frame, and the same frame wherever it had the same content
// before; written down where two processes agree.
static size_t shared_pages() {
  size_t shared = 0;
  for (size_t i = 0; i < 3 * kPages; ++i)
    for (int a = 0; a < common->count; ++a)
      for (int b = 0; b < a; ++b) {
        if (common->members[a].seeds[i] < 2 || common->members[b].seeds[i] < 2) continue;
        const char* page = common->areas[i / kPages] + i % kPages * kPage;
        uint64_t one = frame(common->members[a].pid, page), other = frame(common->members[b].pid, page);
        bool same = one == other && one != 0;
        if (same) CHECK(common->members[a].seeds[i] == common->members[b].seeds[i]);
        shared += same;
      }
  return shared;
}

static void make_areas(Member& self, bool huge) {
  size_t align = huge ? kHugePage : kPage;
  char* at = map_memory(kWhole + align);
  common->areas[0] = at + -reinterpret_cast<uintptr_t>(at) % align;
  int fd = open("private", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ftruncate(fd, kWhole) == 0);
  void* file = mmap(nullptr, kWhole, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(file != MAP_FAILED && close(fd) == 0);
  common->areas[1] = static_cast<char*>(file);
  common->areas[2] = map_memory(kWhole);
  for (int area = 0; area < 3; ++area) write_pages(self, area, 0, kPages, 2000 + static_cast<uint64_t>(area) * 100);
}

static int wait_for_children() {
  common->finish = true;
  for (int status; waitpid(-1, &status, 0) > 0;) CHECK(status == 0);
  return 0;
}

// A process that has made them all and ends.
static int live_as_orphans() {
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  pid_t parent = fork();
  if (parent == 0) {
    Member& self = join();
    make_areas(self, false);
    fork_child(self, child);
    write_pages(self, 0, 40, 44, 5000);
    fork_child(self, [](Member& own) { write_pages(own, 0, 0, 2, 6000); });
    std::fill_n(self.seeds, 3 * kPages, 0);
    _exit(0);
  }
  CHECK(waitpid(parent, nullptr, 0) == parent);
  size_t before = shared_pages();
  CHECK(before > 3 * kPages);
  ready();
  size_t after = shared_pages();
  if (after < before) dprintf(STDOUT_FILENO, "%zu pages were shared, %zu are\n", before, after);
  CHECK(after >= before);
  return wait_for_children();
}

static int live_with_huge_pages() {
  size_t bytes = 4 * kHugePage;
  char* at = map_memory(bytes + kHugePage);
  at += -reinterpret_cast<uintptr_t>(at) % kHugePage;
  if (madvise(at, bytes, MADV_HUGEPAGE)) skip("this kernel has no transparent huge pages");
  for (size_t i = 0; i < bytes; i += kPage) fill_page(at + i, i);
  static char* memory = at;
  pid_t reader = fork();
  if (reader == 0) {
    while (!__atomic_load_n(&common->finish, __ATOMIC_SEQ_CST)) usleep(1000);
    for (size_t i = 0; i < bytes; i += kPage) CHECK(page_is(memory + i, i));
    _exit(0);
  }
  auto shared = [&] {
    size_t pages = 0;
    for (size_t i = 0; i < bytes; i += kPage) pages += frame(getpid(), at + i) == frame(reader, at + i);
    return pages;
  };
  CHECK(shared() == bytes / kPage);
  ready();
  CHECK(shared() == bytes / kPage);
  return wait_for_children();
}

int main(int, char** arguments) {
  common = reinterpret_cast<Common*>(map_memory(sizeof(Common), MAP_SHARED));
  if (strcmp(arguments[1], "orphans") == 0) return live_as_orphans();
  if (strcmp(arguments[1], "huge") == 0) return live_with_huge_pages();
  Member& self = join();
  make_areas(self, false);
  fork_child(self, child);
  write_pages(self, 0, 40, 44, 5000);  // the child keeps what was there, and hands it to the grandchild
  fork_child(self, child);
  write_pages(self, 0, 50, 60, 5100);  // both have these, and the parent has others
  CHECK(munmap(common->areas[2] + 20 * kPage, 8 * kPage) == 0);
  std::fill_n(self.seeds + 2 * kPages + 20, 8, 0);
  if (frame(getpid(), common->areas[0]) == 0) skip("this kernel shows no frame numbers");
  size_t before = shared_pages();
  CHECK(before > 3 * kPages);
  ready();
  size_t after = shared_pages();
  if (after < before) dprintf(STDOUT_FILENO, "%zu pages were shared, %zu are\n", before, after);
  CHECK(after >= before);
  verify(self);
  return wait_for_children();
}
