// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/reserved_ids.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "base/backoff.h"
#include "base/file.h"

namespace ks::engine {

namespace {

constexpr char kLastPid[] = "/proc/sys/kernel/ns_last_pid";
// There while somebody has his turn, locked (flock(2)): ns_last_pid itself anybody may open, and so lock. It holds
// what that is to be again.
constexpr char kTurn[] = "/run/kernel-swap.turn";
constexpr auto kTurnLimit = std::chrono::seconds(30);
constexpr pid_t kGuarded = 64;  // numbers after the one whose turn it is: more than others clone meanwhile

Result<uint64_t> make_zombie(pid_t id) {
  clone_args arguments{.set_tid = reinterpret_cast<uint64_t>(&id), .set_tid_size = 1};
  long made = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (made == 0)
    for (;;) ::syscall(SYS_exit_group, 0);
  return made < 0 ? fail_errno("clone3") : Result<uint64_t>(made);
}

void reap(std::set<pid_t>& zombies) {
  for (pid_t id : zombies) ::waitpid(id, nullptr, __WALL);
  zombies.clear();
}

// None: somebody else has it, or has just removed it.
Result<Fd> try_to_lock() {
  Fd file = TRY(open_file(kTurn, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(file.get(), LOCK_EX | LOCK_NB)) return errno == EWOULDBLOCK ? Result<Fd>(Fd()) : fail_errno(kTurn);
  struct stat status{};
  if (::fstat(file.get(), &status)) return fail_errno(kTurn);
  return status.st_nlink ? std::move(file) : Fd();
}

}  // namespace

Result<Turn> Turn::await() {
  for (Backoff backoff(Backoff::Clock::now() + kTurnLimit);;) {
    if (Fd file = TRY(try_to_lock())) {
      Turn turn(std::move(file));
      turn.last_ = TRY(read_all(turn.file_.get(), kTurn));  // of one who has died in his turn
      TRY(turn.end());
      return turn;
    }
    if (!backoff.pause()) return fail(fmt::format("{}: somebody keeps it locked", kTurn), ETIMEDOUT);
  }
}

Turn::~Turn() {
  if (file_ && end()) ::unlink(kTurn);
}

Result<> Turn::begin(pid_t id) {
  last_ = TRY(read_file(kLastPid));
  TRY(write_all(file_.get(), last_, kTurn));
  return write_value(kLastPid, std::to_string(id - 1));
}

Result<> Turn::end() {
  if (last_.empty()) return {};
  TRY(write_value(kLastPid, std::exchange(last_, "")));
  if (::ftruncate(file_.get(), 0) || ::lseek(file_.get(), 0, SEEK_SET)) return fail_errno(kTurn);
  return {};
}

Result<> clone_as(pid_t id, const std::function<Result<uint64_t>()>& clone) {
  auto made = clone();
  if (!made && made.error().code == EEXIST) {
    Turn turn = TRY(Turn::await());
    made = clone();
  }
  if (!made && made.error().code == EEXIST) return fail(fmt::format("pid {} is taken", id), EEXIST);
  TRY(in(fmt::format("pid {}", id), std::move(made)));
  return {};
}

ReservedIds::~ReservedIds() {
  reap(guards_);
  reap(zombies_);
}

Result<> ReservedIds::reserve(pid_t id) {
  if (zombies_.contains(id)) return {};
  TRY(clone_as(id, [id] { return make_zombie(id); }));
  zombies_.insert(id);
  return {};
}

void ReservedIds::release(pid_t id) {
  if (zombies_.erase(id)) ::waitpid(id, nullptr, __WALL);
}

Result<> ReservedIds::begin_turn(pid_t id) {
  turn_.emplace(TRY(Turn::await()));
  for (auto spared = spared_.upper_bound(id); spared != spared_.end() && *spared <= id + kGuarded; ++spared) {
    if (zombies_.contains(*spared)) continue;
    // Where there is no room for one, we go without it.
    if (make_zombie(*spared)) guards_.insert(*spared);
  }
  if (!zombies_.erase(id)) return fail(fmt::format("pid {} is not reserved", id));
  if (::waitpid(id, nullptr, __WALL) < 0) return fail_errno("wait");
  return turn_->begin(id);
}

Result<> ReservedIds::end_turn() {
  // The number comes first, so that none that is about to be free is the next one.
  auto ended = turn_ ? turn_->end() : Result<>();
  reap(guards_);
  turn_.reset();
  return ended;
}

}  // namespace ks::engine
