// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/reserved_ids.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

namespace ks::engine {

namespace {

constexpr char kLastPid[] = "/proc/sys/kernel/ns_last_pid";
constexpr pid_t kGuarded = 512;  // numbers after the one whose turn it is: more than others clone meanwhile

// False: it is taken.
Result<bool> make_zombie(pid_t id) {
  clone_args arguments{.set_tid = reinterpret_cast<uint64_t>(&id), .set_tid_size = 1};
  long made = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (made == 0)
    for (;;) ::syscall(SYS_exit_group, 0);
  if (made < 0 && errno != EEXIST) return fail_errno("clone3");
  return made > 0;
}

void reap(std::set<pid_t>& zombies) {
  for (pid_t id : zombies) ::waitpid(id, nullptr, __WALL);
  zombies.clear();
}

}  // namespace

Result<Fd> await_turn() {
  // All have the same file: it is that of the PID namespace.
  Fd turn = TRY(open_file(kLastPid, O_RDONLY));
  while (::flock(turn.get(), LOCK_EX))
    if (errno != EINTR) return fail_errno(kLastPid);
  return turn;
}

ReservedIds::~ReservedIds() {
  reap(guards_);
  reap(zombies_);
}

Result<> ReservedIds::reserve(pid_t id) {
  if (zombies_.contains(id)) return {};
  bool made = TRY(make_zombie(id));
  if (!made) {
    Fd turn = TRY(await_turn());
    made = TRY(make_zombie(id));
  }
  if (!made) return fail(fmt::format("pid {} is taken", id), EEXIST);
  zombies_.insert(id);
  return {};
}

void ReservedIds::release(pid_t id) {
  if (zombies_.erase(id)) ::waitpid(id, nullptr, __WALL);
}

Result<> ReservedIds::begin_turn(pid_t id) {
  turn_ = TRY(await_turn());
  last_ = TRY(read_file(kLastPid));
  std::string before = std::to_string(id - 1);
  for (auto spared = spared_.upper_bound(id); spared != spared_.end() && *spared <= id + kGuarded; ++spared)
    if (!zombies_.contains(*spared) && TRY(make_zombie(*spared))) guards_.insert(*spared);
  if (!zombies_.erase(id)) return fail(fmt::format("pid {} is not reserved", id));
  if (::waitpid(id, nullptr, __WALL) < 0) return fail_errno("wait");
  return write_value(kLastPid, before);
}

Result<> ReservedIds::end_turn() {
  // First, so that no number that is about to be free is the next one.
  auto written = last_.empty() ? Result<>() : write_value(kLastPid, last_);
  last_.clear();
  reap(guards_);
  turn_ = Fd();
  return written;
}

}  // namespace ks::engine
