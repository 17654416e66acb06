// SPDX-License-Identifier: LGPL-2.1-or-later
// The hearts of a program under test: counters in a file, each raised by one of its threads as long as it finds all
// right.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

namespace ks::test {

class Hearts {
 public:
  // `count` of them from the beginning of the file, or, if 0, as many as its first word says behind that word.
  explicit Hearts(const std::string& file, size_t count = 0);
  Hearts(const Hearts&) = delete;
  ~Hearts();

  // Every heart goes on, before a generous time is over; what stands still is printed, with where the threads of
  // `root` and its descendants are.
  bool all_beat(pid_t root) const;

 private:
  void* mapping_ = nullptr;
  std::span<const std::atomic<uint64_t>> hearts_;
};

}  // namespace ks::test
