// SPDX-License-Identifier: LGPL-2.1-or-later
// What the machine itself can do, as the yardstick: one process, one thread, no checkpoint.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::bench {

inline constexpr uint64_t kMebibyte = 1 << 20;

struct Rate {
  double bytes_per_second = 0;
  double bytes_per_cpu_second = 0;  // what other load on the machine leaves alone, mostly
};

// Touches as much memory and gives it back: a virtual machine's host takes free memory away within seconds, and to
// get it again is 30 times as slow. In pages of the kind that is needed next, which come from other places.
void warm_up(uint64_t bytes, bool huge = false);

Rate copy_rate(uint64_t bytes);                 // memcpy(3) between touched pages
Rate populate_rate(uint64_t bytes, bool huge);  // a first touch of each page
// A file that is in the page cache, copied from there into untouched pages: read(2) is slower, into huge ones ten
// times.
Result<Rate> fill_rate(const std::string& file, uint64_t bytes, bool huge);
// process_vm_readv(2) and write(2) to a new file, through the page cache, of all private memory of a process.
Result<Rate> read_and_write_rate(pid_t pid, const std::string& file);

struct Memory {
  uint64_t anonymous = 0, huge = 0;
};
Result<Memory> memory_of(pid_t pid);

// Seconds that the kernel needs to make and end one of them.
double process_cost();
double thread_cost();
double descriptor_cost();
double area_cost();
double socket_cost();  // half of a TCP connection

}  // namespace ks::bench
