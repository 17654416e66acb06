// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/reserved_ids.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

namespace ks::engine {

namespace {
constexpr char kLastPid[] = "/proc/sys/kernel/ns_last_pid";
}

ReservedIds::~ReservedIds() {
  for (pid_t id : zombies_) ::waitpid(id, nullptr, __WALL);
}

Result<> ReservedIds::reserve(pid_t id) {
  if (zombies_.contains(id)) return {};
  clone_args arguments{.set_tid = reinterpret_cast<uint64_t>(&id), .set_tid_size = 1};
  long made = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (made == 0)
    for (;;) ::syscall(SYS_exit_group, 0);
  if (made < 0) return fail_errno(errno == EEXIST ? fmt::format("pid {} is taken", id) : "clone3");
  zombies_.insert(id);
  return {};
}

void ReservedIds::release(pid_t id) {
  if (zombies_.erase(id)) ::waitpid(id, nullptr, __WALL);
}

Result<> ReservedIds::begin_turn(pid_t id) {
  last_ = TRY(read_file(kLastPid));
  std::string before = std::to_string(id - 1);
  if (!zombies_.erase(id)) return fail(fmt::format("pid {} is not reserved", id));
  if (::waitpid(id, nullptr, __WALL) < 0) return fail_errno("wait");
  return write_value(kLastPid, before);
}

Result<> ReservedIds::end_turn() const { return write_value(kLastPid, last_); }

}  // namespace ks::engine
