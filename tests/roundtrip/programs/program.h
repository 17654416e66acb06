// SPDX-License-Identifier: LGPL-2.1-or-later
// What the programs of the round-trip tests have in common. Each prepares something, calls ready(), is dumped and
// restored in the meantime, and compares; what it finds wrong it prints, and ends with status 1.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>
#include <string>

inline constexpr size_t kPage = 4096;

[[noreturn]] inline void failed(const char* what, const char* file, int line) {
  dprintf(STDOUT_FILENO, "%s:%d: pid %d: not so: %s (errno: %s)\n", file, line, getpid(), what,
          strerrordesc_np(errno));
  _exit(1);
}
#define CHECK(condition) ((condition) ? void() : failed(#condition, __FILE_NAME__, __LINE__))

// Ends the test as skipped; only before ready().
[[noreturn]] inline void skip(const char* why) {
  dprintf(STDOUT_FILENO, "skipped: %s\n", why);
  _exit(77);
}

// The driver tells us through the mode of the file that is our output.
inline bool told() {
  struct stat facts;
  CHECK(fstat(STDOUT_FILENO, &facts) == 0);
  return facts.st_mode & S_IXUSR;
}
inline void wait_until_told() {
  while (!told()) usleep(1000);
}
inline void say_ready() { CHECK(write(STDOUT_FILENO, "ready\n", 6) == 6); }  // allocates no memory
inline void ready() {
  say_ready();
  wait_until_told();
}

// What is sent over the loopback interface may come a moment later.
inline void await_input(int fd) {
  pollfd poll_input{.fd = fd, .events = POLLIN, .revents = 0};
  CHECK(poll(&poll_input, 1, 10000) == 1);
}

inline char* map_memory(size_t bytes, int flags = MAP_PRIVATE, int protection = PROT_READ | PROT_WRITE) {
  void* at = mmap(nullptr, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  return static_cast<char*>(at);
}

// Adds to the pages of 2 MiB that the machine keeps for hugetlbfs, or skips the test.
inline int change_huge_pages(int by) {
  int fd = open("/proc/sys/vm/nr_hugepages", O_RDWR);
  char text[32]{};
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) return -1;
  int before = atoi(text), length = snprintf(text, sizeof text, "%d", before + by);
  if (pwrite(fd, text, static_cast<size_t>(length), 0) != length) return -1;
  memset(text, 0, sizeof text);
  bool done = pread(fd, text, sizeof text - 1, 0) > 0 && atoi(text) == before + by;
  close(fd);
  return done ? 0 : -1;
}
inline void reserve_huge_pages(int count) {
  if (change_huge_pages(count)) skip("no huge pages can be reserved");
}
inline constexpr size_t kHugePage = 2 << 20;

// A page that no other seed gives.
inline void fill_page(void* page, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(page);
  for (size_t i = 0; i < kPage / sizeof *words; ++i) words[i] = (seed + 1) * 0x9e3779b97f4a7c15 + i;
}
inline bool page_is(const void* page, uint64_t seed) {
  auto* words = static_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPage / sizeof *words; ++i)
    if (words[i] != (seed + 1) * 0x9e3779b97f4a7c15 + i) return false;
  return true;
}
inline bool page_is_zero(const void* page) {
  auto* words = static_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPage / sizeof *words; ++i)
    if (words[i]) return false;
  return true;
}

template <class Body>
pid_t fork_to(Body body) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    body();
    _exit(0);
  }
  return child;
}

// Until another process has done so.
inline void await_closed(pid_t pid, int fd) {
  std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  struct stat link;
  while (lstat(path.c_str(), &link) == 0) usleep(1000);
}

// Of small files.
inline std::string content(const std::string& path) {
  std::string text(65536, '\0');
  int fd = open(path.c_str(), O_RDONLY);
  CHECK(fd >= 0);
  ssize_t got = read(fd, text.data(), text.size());
  CHECK(got >= 0);
  close(fd);
  text.resize(static_cast<size_t>(got));
  return text;
}
inline void put(const std::string& path, const std::string& text) {
  int fd = open(path.c_str(), O_WRONLY);
  CHECK(fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  close(fd);
}

inline int64_t now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time;
  CHECK(clock_gettime(clock, &time) == 0);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}
inline constexpr int64_t kMillisecond = 1'000'000;

// How many times as slow as usual the machine may be: an emulated one.
inline int patience() {
  const char* given = getenv("PATIENCE");
  return given ? atoi(given) : 1;
}
