// SPDX-License-Identifier: LGPL-2.1-or-later
// What only processes themselves can do to System V objects: adjustments of semaphores that their end makes
// (semop(2), SEM_UNDO), and being the last to have used one.
//
// Nobody tells an adjustment. But a semop(2) that ends with an impossible operation is undone by the kernel as a
// whole, and before that it fails with ERANGE if an adjustment would leave its range: by how much one can be moved,
// tells what it is. (A process that has an adjustment, even of 0, shows as a use of the set when it ends. So sets
// that nobody has operated on, which programs take for unfinished, are not asked.)
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "engine/kernel/namespace.h"
#include "engine/kernel/system_v.h"
#include "engine/task/room.h"
#include "engine/task/system_v.h"

namespace ks::engine {

namespace {

constexpr int kHighest = 32767, kLowest = -32768;  // SEMAEM, and one more below
constexpr size_t kLeastLimit = 9;                  // operations for the longest shift

bool is_gone(const Error& error) { return error.code == EINVAL || error.code == EIDRM; }

class Asking {
 public:
  Asking(RemoteCalls& calls, const RemoteMemory& memory, RemoteAddress scratch, int set,
         std::span<const uint16_t> values, size_t most)
      : calls_(calls), memory_(memory), scratch_(scratch), set_(set), values_(values), most_(most) {}

  // By number, where it is not 0.
  Result<std::map<unsigned short, int>> adjustments() {
    std::map<unsigned short, int> found;
    std::vector<unsigned short> all(values_.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<unsigned short>(i);
    constexpr size_t kOperations = 4;  // of the shifts below
    size_t at_once = std::max<size_t>((most_ - 1) / kOperations, 1);
    for (size_t from = 0; from < all.size(); from += at_once) {
      auto some = std::span(all).subspan(from, std::min(at_once, all.size() - from));
      // All are 0 if none is above and none is below.
      if (TRY(can_shift(some, kHighest)) && TRY(can_shift(some, kLowest))) continue;
      for (unsigned short number : some)
        if (int adjustment = TRY(find(number))) found[number] = adjustment;
    }
    return found;
  }

 private:
  Result<int> find(unsigned short number) {
    int can = 0, cannot = kHighest - kLowest + 1;
    while (cannot - can > 1) {
      int middle = (can + cannot) / 2;
      (TRY(can_shift(std::span(&number, 1), middle)) ? can : cannot) = middle;
    }
    return kHighest - can;
  }

  Result<bool> can_shift(std::span<const unsigned short> numbers, int by) {
    std::vector<sembuf> operations;
    for (unsigned short number : numbers)
      std::ranges::copy(shift_adjustment(number, values_[number], by), std::back_inserter(operations));
    operations.push_back(impossible_operation(numbers.front()));
    TRY(memory_.write(scratch_, std::as_bytes(std::span(operations))));
    auto done = calls_(SYS_semop, set_, scratch_, operations.size());
    if (done) return fail("did what is impossible");
    if (done.error().code == EAGAIN) return true;
    if (done.error().code == ERANGE) return false;
    return std::unexpected(std::move(done).error());
  }

  RemoteCalls& calls_;
  const RemoteMemory& memory_;
  RemoteAddress scratch_;
  int set_;
  std::span<const uint16_t> values_;
  size_t most_;
};

struct SetNow {
  size_t most = 0;  // operations in one call
  std::vector<uint16_t> values;
};

Result<SetNow> look_at(const StoppedProcess& process, uint32_t name_space, const SystemVObject& set) {
  SetNow now;
  auto look = [&]() -> Result<> {
    seminfo limits{};
    if (::semctl(0, 0, IPC_INFO, &limits) < 0) return fail_errno("IPC_INFO");
    now.most = static_cast<size_t>(limits.semopm);
    now.values.resize(set.values.size());
    if (::semctl(set.id, 0, GETALL, now.values.data()) < 0) return fail_errno(set.label());
    return {};
  };
  if (name_space == 0)
    TRY(look());
  else
    TRY(inside(TRY(open_namespace(process.pid, "ipc")).get(), CLONE_NEWIPC, look));
  if (now.most < kLeastLimit) return refuse("cannot be asked for its adjustments with so low a limit (kernel.sem)");
  now.most = std::min<size_t>(now.most, 500);
  return now;
}

// Sets that are not the target's are in use meanwhile. Asking for adjustments bears that as long as values that were
// small stay so, and others too.
bool is_answer_for(const SurveyedSet& set, const std::vector<uint16_t>& before, const std::vector<uint16_t>& after) {
  if (set.carried) return after == set.object.values;
  return std::ranges::equal(before, after, {}, is_small_value, is_small_value);
}

Result<std::map<unsigned short, int>> ask_for_adjustments(DumpedProcess& process, uint32_t name_space,
                                                          const SurveyedSet& set) {
  constexpr int kTimes = 10;
  for (int i = 0; i < kTimes; ++i) {
    SetNow before = TRY(look_at(process.stopped, name_space, set.object));
    Asking asking(*TRY(process.leader()), *process.stopped.memory, process.foothold.scratch(), set.object.id,
                  before.values, before.most);
    auto adjustments = TRY(asking.adjustments());
    SetNow after = TRY(look_at(process.stopped, name_space, set.object));
    if (is_answer_for(set, before.values, after.values)) return adjustments;
  }
  return refuse_for_now("changes while it is looked at");
}

Result<> dump_set(DumpedProcess& process, uint32_t name_space, const SurveyedSet& set, image::SemaphoreUndo& out) {
  auto adjustments = ask_for_adjustments(process, name_space, set);
  if (!adjustments && !set.carried) {
    // Others may have removed theirs since the survey. And who has no permission may have had it before, but what is
    // nobody's of the target is lost in any case.
    if (is_gone(adjustments.error()) || adjustments.error().code == EACCES) return {};
  }
  if (!adjustments && adjustments.error().code == EACCES)
    return refuse("may be adjusted at the end of the process (SEM_UNDO), which has no permission to tell");
  for (auto [number, by] : TRY(std::move(adjustments))) {
    if (!set.carried) return refuse("is adjusted at the end of the process (SEM_UNDO), but used by others too");
    auto* adjustment = out.add_adjustments();
    adjustment->set_set(set.object.id);
    adjustment->set_number(number);
    adjustment->set_by(by);
  }
  return {};
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  image::SemaphoreUndo out;
  StoppedProcess& stopped = process.stopped;
  uint32_t name_space = dumping.system_v.name_space.at(stopped.pid);
  for (const auto& set : dumping.system_v.sets[name_space]) {
    if (set.object.set.sem_otime == 0 || !TRY(has_adjustments(stopped.pid))) continue;
    auto dumped = dump_set(process, name_space, set, out);
    if (!dumped && dumped.error().refusal)
      dumping.refuse(stopped.pid, set.object.label(), dumped.error().what);
    else
      TRY(in(set.object.label(), std::move(dumped)));
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> operate(RestoredProcess& process, int set, std::span<const sembuf> operations) {
  TRY(process.memory->write(process.scratch, std::as_bytes(operations)));
  TRY(in("semop", process.leader()(SYS_semop, set, process.scratch, operations.size())));
  return {};
}

bool lives_in(const Restoring& restoring, const RestoredProcess& process, uint32_t name_space) {
  for (uint32_t id : restoring.namespaces.of_process.at(process.pid))
    if (restoring.namespaces.entries.at(id).flag == CLONE_NEWIPC) return id == name_space;
  return name_space == 0;
}

Result<> send(RestoredProcess& process, int queue, int64_t type, const std::string& text) {
  TRY(process.memory->write_value(process.scratch, type));
  TRY(process.memory->write(process.scratch + sizeof type, std::as_bytes(std::span(text))));
  TRY(in("msgsnd", process.leader()(SYS_msgsnd, queue, process.scratch, text.size(), IPC_NOWAIT)));
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto undo = TRY(process.read<image::SemaphoreUndo>(room.name, room.version));
  for (const auto& adjustment : undo.adjustments())
    for (const auto& set : restoring.system_v.sets()) {
      if (set.object().id() != adjustment.set() || !lives_in(restoring, process, set.object().name_space())) continue;
      int number = static_cast<int>(adjustment.number());
      if (number >= set.values_size()) return fail("an adjustment of a semaphore that does not exist");
      TRY(operate(process, adjustment.set(),
                  shift_adjustment(static_cast<unsigned short>(number), static_cast<int>(set.values(number)),
                                   adjustment.by())));
    }
  for (const auto& queue : restoring.system_v.queues()) {
    if (queue.last_sender() != process.pid || !lives_in(restoring, process, queue.object().name_space())) continue;
    if (sends_last(queue))
      TRY(send(process, queue.object().id(), queue.messages().rbegin()->type(), queue.messages().rbegin()->text()));
    else if (queue.messages().empty())
      TRY(send(process, queue.object().id(), passing_type(queue), ""));
  }
  return {};
}

Result<> use_semaphores(RestoredProcess& process, const image::SystemV::Set& set) {
  for (int number = 0; number < set.values_size(); ++number) {
    if (set.last_users(number) != process.pid) continue;
    auto value = static_cast<int>(set.values(number));
    if (!set.operated()) {
      TRY(in("SETVAL", process.leader()(SYS_semctl, set.object().id(), number, SETVAL, value)));
      continue;
    }
    auto shift = shift_adjustment(static_cast<unsigned short>(number), value, 1);
    for (auto& operation : shift) operation.sem_flg = 0;
    TRY(operate(process, set.object().id(), shift));
  }
  return {};
}

// When all have set their adjustments, which is a use too.
Result<> use_last(Restoring& restoring, RestoredProcess& process, const TaskRoom&) {
  for (const auto& set : restoring.system_v.sets())
    if (lives_in(restoring, process, set.object().name_space())) TRY(use_semaphores(process, set));
  for (const auto& queue : restoring.system_v.queues()) {
    if (queue.last_receiver() != process.pid || !lives_in(restoring, process, queue.object().name_space())) continue;
    for (bool more = true; more;) {
      auto got =
          process.leader()(SYS_msgrcv, queue.object().id(), process.scratch, 8, passing_type(queue), IPC_NOWAIT);
      if (!got && got.error().code != ENOMSG) return std::unexpected(got.error());
      more = got.has_value();
    }
  }
  return {};
}

Result<> nothing(Dumping&, DumpedProcess&, const TaskRoom&) { return {}; }

}  // namespace

extern const TaskRoom kSemaphoreUndo, kSystemVUse;
const TaskRoom kSemaphoreUndo{.name = "semaphore-undo", .version = 1, .dump = dump, .restore = restore};
const TaskRoom kSystemVUse{.name = "system-v-use", .version = 1, .dump = nothing, .restore = use_last};

}  // namespace ks::engine
