// SPDX-License-Identifier: LGPL-2.1-or-later
// What is dumped and restored: workload WHAT COUNT, where WHAT is
//   memory, huge            COUNT MiB of random memory, in plain and in transparent huge pages
//   processes, threads, descriptors, areas   COUNT of them
//   sockets         COUNT of them, ends of TCP connections between two processes
//   connections     COUNT of TCP, to a process that is not its descendant
// Says "ready" and waits to be killed.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <pthread.h>

namespace {

constexpr size_t kPage = 4096, kHugePage = 2 << 20, kMebibyte = 1 << 20;

[[noreturn]] void give_up(const char* what) {
  perror(what);
  _exit(1);
}

char* map(size_t bytes, int protection = PROT_READ | PROT_WRITE) {
  void* at = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) give_up("mmap");
  return static_cast<char*>(at);
}

void fill_memory(size_t bytes, bool huge) {
  char* at = map(bytes + kHugePage);
  at += -reinterpret_cast<uintptr_t>(at) % kHugePage;
  madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  uint64_t state = 88172645463325252;  // xorshift64: no run of it compresses or repeats
  for (auto* word = reinterpret_cast<uint64_t*>(at); word < reinterpret_cast<uint64_t*>(at + bytes); ++word) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    *word = state;
  }
}

void start_processes(size_t count) {
  for (size_t i = 1; i < count; ++i) {
    pid_t pid = fork();
    if (pid < 0) give_up("fork");
    if (pid == 0)
      for (;;) pause();
  }
}

void start_threads(size_t count) {
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  for (size_t i = 1; i < count; ++i) {
    pthread_t thread;
    auto wait = [](void*) -> void* {
      for (;;) pause();
    };
    if (pthread_create(&thread, &small, wait, nullptr)) give_up("pthread_create");
  }
}

// Of the most common kinds, every one an open file of its own.
void open_here(size_t count) {
  for (size_t i = 0; i < count; ++i)
    if ((i % 2 ? eventfd(static_cast<unsigned>(i), 0) : open("/proc/self/exe", O_RDONLY)) < 0) give_up("open");
}

// In several processes: who restores them needs as many himself, and those of the largest process besides.
void open_descriptors(size_t count) {
  constexpr size_t kMost = 2500;
  rlimit limit{kMost + 100, kMost + 100};
  int done[2];
  if (setrlimit(RLIMIT_NOFILE, &limit) || pipe(done)) give_up("limits");
  size_t children = 0;
  for (; count > kMost; count -= kMost, ++children) {
    pid_t pid = fork();
    if (pid < 0) give_up("fork");
    if (pid > 0) continue;
    open_here(kMost);
    if (write(done[1], "x", 1) != 1) give_up("write");
    for (;;) pause();
  }
  open_here(count);
  for (char byte; children > 0; --children)
    if (read(done[0], &byte, 1) != 1) give_up("read");
}

// One that leaves nothing behind when it is closed: rounds follow each other more quickly than such remains go.
void reset_at_close(int socket) {
  linger no_wait{1, 0};
  if (setsockopt(socket, SOL_SOCKET, SO_LINGER, &no_wait, sizeof no_wait)) give_up("SO_LINGER");
}

void connect_sockets(size_t connections, bool to_outside) {
  rlimit limit{connections + 100, connections + 100};
  if (setrlimit(RLIMIT_NOFILE, &limit)) give_up("limits");
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* name = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, name, length) || listen(listener, 128) || getsockname(listener, name, &length))
    give_up("listen");
  pid_t pid = fork();
  if (pid < 0) give_up("fork");
  if (pid == 0 && to_outside) {
    pid = fork();  // whose parent ends at once
    if (pid < 0) give_up("fork");
    if (pid) _exit(0);
  }
  for (size_t i = 0; i < connections; ++i) {
    int one = pid ? accept(listener, nullptr, nullptr) : socket(AF_INET, SOCK_STREAM, 0);
    if (one < 0 || (pid == 0 && connect(one, name, length))) give_up("connection");
    reset_at_close(one);
  }
  close(listener);
  if (pid && to_outside) waitpid(pid, nullptr, 0);
  if (pid) return;
  for (;;) pause();
}

// Neighbours differ, or they would be one.
void map_areas(size_t count) {
  char* at = map(count * kPage);
  for (size_t i = 0; i < count; ++i) {
    at[i * kPage] = 1;
    if (i % 2 && mprotect(at + i * kPage, kPage, PROT_READ)) give_up("mprotect");
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const char* what = arguments[1];
  size_t number = strtoul(arguments[2], nullptr, 10);
  auto is = [&](const char* name) { return strcmp(what, name) == 0; };
  if (is("memory") || is("huge"))
    fill_memory(number * kMebibyte, is("huge"));
  else if (is("processes"))
    start_processes(number);
  else if (is("threads"))
    start_threads(number);
  else if (is("descriptors"))
    open_descriptors(number);
  else if (is("sockets"))
    connect_sockets(number / 2, false);
  else if (is("connections"))
    connect_sockets(number, true);
  else if (is("areas"))
    map_areas(number);
  else
    return 2;
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) return 1;
  for (;;) pause();
}
