// SPDX-License-Identifier: LGPL-2.1-or-later
#include "machine.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/proc.h"

namespace ks::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kPage = 4096, kHugePage = 2 * kMebibyte, kPiece = kMebibyte;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Area {
 public:
  Area(uint64_t bytes, bool huge) : bytes_(bytes + kHugePage) {
    start_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start_ == MAP_FAILED) std::abort();
    auto address = reinterpret_cast<uintptr_t>(start_);
    at = static_cast<char*>(start_) + (-address & (kHugePage - 1));
    ::madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  Area(const Area&) = delete;
  ~Area() { ::munmap(start_, bytes_); }
  char* at;

 private:
  void* start_;
  uint64_t bytes_;
};

class Stopwatch {
 public:
  Rate rate(uint64_t bytes) const {
    auto size = static_cast<double>(bytes);
    return {size / seconds_since(start_), size / (cpu_seconds() - cpu_start_)};
  }

 private:
  static double cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
  Clock::time_point start_ = Clock::now();
  double cpu_start_ = cpu_seconds();
};

template <class Act>
Rate rate(uint64_t bytes, Act act) {
  Stopwatch watch;
  act();
  return watch.rate(bytes);
}

template <class Act>
double cost(int times, Act act) {
  auto start = Clock::now();
  for (int i = 0; i < times; ++i) act();
  return seconds_since(start) / times;
}

}  // namespace

void warm_up(uint64_t bytes, bool huge) {
  Area memory(bytes, huge);
  for (uint64_t i = 0; i < bytes; i += kPage) memory.at[i] = 1;
}

Rate copy_rate(uint64_t bytes) {
  Area from(bytes, true), to(bytes, true);
  std::memset(from.at, 1, bytes);
  std::memset(to.at, 2, bytes);
  return rate(bytes, [&] { std::memcpy(to.at, from.at, bytes); });
}

Rate populate_rate(uint64_t bytes, bool huge) {
  Area memory(bytes, huge);
  return rate(bytes, [&] {
    for (uint64_t i = 0; i < bytes; i += kPage) memory.at[i] = 1;
  });
}

Result<Rate> fill_rate(const std::string& file, uint64_t bytes, bool huge) {
  constexpr uint64_t kMapped = 4 * kMebibyte;
  Fd fd = TRY(open_file(file, O_RDONLY));
  Area memory(bytes, huge);
  Stopwatch watch;
  for (uint64_t i = 0; i < bytes; i += kMapped) {
    size_t size = std::min(kMapped, bytes - i);
    void* from = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), static_cast<off_t>(i));
    if (from == MAP_FAILED || ::madvise(from, size, MADV_POPULATE_READ)) return fail_errno(file);
    std::memcpy(memory.at + i, from, size);
    ::munmap(from, size);
  }
  return watch.rate(bytes);
}

Result<Rate> read_and_write_rate(pid_t pid, const std::string& file) {
  auto areas = TRY(engine::parse_maps(TRY(read_file("/proc/" + std::to_string(pid) + "/maps"))));
  Fd fd = TRY(open_file(file, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  auto piece = std::make_unique<std::byte[]>(kPiece);
  uint64_t total = 0;
  Stopwatch watch;
  for (const auto& area : areas) {
    if (area.size() < kPiece || !area.path.empty() || !(area.protection & PROT_WRITE)) continue;
    for (uint64_t at = area.start; at < area.end; at += kPiece) {
      iovec local{piece.get(), std::min(kPiece, area.end - at)};
      iovec remote{reinterpret_cast<void*>(at), local.iov_len};
      ssize_t got = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
      if (got < 0) return fail_errno("process_vm_readv");
      if (::write(fd.get(), piece.get(), static_cast<size_t>(got)) != got) return fail_errno(file);
      total += static_cast<uint64_t>(got);
    }
  }
  Rate rate = watch.rate(total);
  ::unlink(file.c_str());
  if (total < kMebibyte) return fail("the process has no memory to read");
  return rate;
}

Result<Memory> memory_of(pid_t pid) {
  Memory memory;
  std::string text = TRY(read_file("/proc/" + std::to_string(pid) + "/smaps_rollup"));
  std::string_view rest = text;
  while (!rest.empty()) {
    auto words = split_words(take_until(rest, '\n'));
    if (words.size() < 2) continue;
    uint64_t kib = parse_number<uint64_t>(words[1]).value_or(0);
    if (words[0] == "Anonymous:") memory.anonymous = kib * 1024;
    if (words[0] == "AnonHugePages:") memory.huge = kib * 1024;
  }
  return memory;
}

double process_cost() {
  return cost(200, [] {
    pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    ::waitpid(pid, nullptr, 0);
  });
}

double thread_cost() {
  return cost(500, [] {
    pthread_t thread;
    if (::pthread_create(&thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr)) std::abort();
    ::pthread_join(thread, nullptr);
  });
}

double descriptor_cost() {
  return cost(5000, [] { ::close(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); });
}

double socket_cost() {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* name = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), name, length) || ::listen(listener.get(), 1) ||
      ::getsockname(listener.get(), name, &length))
    std::abort();
  linger no_wait{1, 0};
  auto connection = [&] {
    Fd one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::setsockopt(one.get(), SOL_SOCKET, SO_LINGER, &no_wait, sizeof no_wait);
    if (::connect(one.get(), name, length)) std::abort();
    Fd other(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  };
  return cost(1000, connection) / 2;
}

double area_cost() {
  return cost(5000, [] {
    void* at = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<volatile char*>(at) = 1;
    ::munmap(at, kPage);
  });
}

}  // namespace ks::bench
