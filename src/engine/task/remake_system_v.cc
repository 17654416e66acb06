// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>

#include <algorithm>

#include "engine/kernel/system_v.h"
#include "engine/task/system_v.h"

namespace ks::engine {

namespace {

using Object = image::SystemV::Object;

constexpr size_t kMostSentRemotely = 32 * 1024;  // of the scratch area

// An object of this id that is there already is the very same if nobody has set anything of it, as after a swap that
// did not happen.
Result<bool> find(SystemVType type, const Object& from, int status, const ipc_perm& permissions, int64_t changed) {
  if (status < 0) return false;
  bool same = permissions.__key == from.key() && permissions.cuid == from.creator_uid() &&
              permissions.cgid == from.creator_gid() && changed == from.changed();
  if (!same) return fail(label_of(type, from.id()) + ": is somebody else's by now");
  return true;
}

Result<> make(const Object& from, SystemVType type, size_t extent, IpcGuard& guard) {
  return guard.make(from.name_space(), type, from.id(), [&] {
    return make_system_v(type, from.id(), from.key(), from.mode(), extent,
                         {.uid = from.creator_uid(), .gid = from.creator_gid()});
  });
}

Result<> send(int id, int64_t type, const std::string& text) {
  std::vector<char> message(sizeof(long) + text.size());
  long number = type;
  std::memcpy(message.data(), &number, sizeof number);
  std::ranges::copy(text, message.begin() + sizeof number);
  if (::msgsnd(id, message.data(), text.size(), IPC_NOWAIT)) return fail_errno("msgsnd");
  return {};
}

uint64_t room_needed(const image::SystemV::Queue& queue) {
  uint64_t bytes = 0;
  for (const auto& message : queue.messages()) bytes += message.text().size();
  // The number of messages has the same limit.
  return std::max({queue.most_bytes(), bytes, static_cast<uint64_t>(queue.messages_size()) + 2});
}

Result<> fill(const image::SystemV::Queue& queue) {
  int id = queue.object().id();
  msqid_ds facts{};
  if (::msgctl(id, IPC_STAT, &facts)) return fail_errno("IPC_STAT");
  if (uint64_t needed = room_needed(queue); facts.msg_qbytes < needed) {
    facts.msg_qbytes = needed;
    if (::msgctl(id, IPC_SET, &facts)) return fail_errno("IPC_SET");
  }
  int count = queue.messages_size() - (sends_last(queue) ? 1 : 0);
  for (int i = 0; i < count; ++i) TRY(send(id, queue.messages(i).type(), queue.messages(i).text()));
  return queue.last_receiver() ? send(id, passing_type(queue), "") : Result<>();
}

// False if it is there and holds what it did.
Result<bool> remake_queue(const image::SystemV::Queue& queue, const MadeNamespaces& namespaces, IpcGuard& guard) {
  const Object& from = queue.object();
  bool there = false;
  TRY(namespaces.in_ipc(from.name_space(), [&]() -> Result<> {
    msqid_ds facts{};
    int status = ::msgctl(from.id(), IPC_STAT, &facts);
    there = TRY(find(SystemVType::queue, from, status, facts.msg_perm, facts.msg_ctime));
    auto last = std::max({facts.msg_ctime, facts.msg_stime, facts.msg_rtime});
    if (there && last != from.used()) return fail(label_of(SystemVType::queue, from.id()) + ": has been used since");
    return {};
  }));
  if (there) return false;
  TRY(make(from, SystemVType::queue, 0, guard));
  TRY(namespaces.in_ipc(from.name_space(), [&] { return fill(queue); }));
  return true;
}

// In one that is there, values have changed if the end of the processes did it (SEM_UNDO).
Result<> correct(const image::SystemV::Set& set) {
  for (int number = 0; number < set.values_size(); ++number) {
    int value = ::semctl(set.object().id(), number, GETVAL);
    if (value < 0) return fail_errno("GETVAL");
    sembuf change{static_cast<unsigned short>(number),
                  static_cast<short>(static_cast<int>(set.values(number)) - value), IPC_NOWAIT};
    if (change.sem_op && ::semop(set.object().id(), &change, 1)) return fail_errno("semop");
  }
  return {};
}

Result<> set_values(const image::SystemV::Set& set) {
  int id = set.object().id();
  for (int number = 0; number < set.values_size(); ++number) {
    auto value = static_cast<int>(set.values(number));
    // One that nobody has used does not show us either.
    if (value == 0 && set.last_users(number) == 0) continue;
    if (::semctl(id, number, SETVAL, value)) return fail_errno("SETVAL");
  }
  if (!set.operated()) return {};
  // Programs wait for the first operation: it tells that the values have been set.
  auto shift = shift_adjustment(0, static_cast<int>(set.values(0)), 1);
  for (auto& operation : shift) operation.sem_flg = 0;
  return ::semop(id, shift.data(), shift.size()) ? fail_errno("semop") : Result<>();
}

Result<> remake_set(const image::SystemV::Set& set, const MadeNamespaces& namespaces, IpcGuard& guard) {
  const Object& from = set.object();
  bool there = false;
  TRY(namespaces.in_ipc(from.name_space(), [&]() -> Result<> {
    semid_ds facts{};
    int status = ::semctl(from.id(), 0, IPC_STAT, &facts);
    there = TRY(find(SystemVType::semaphores, from, status, facts.sem_perm, facts.sem_ctime));
    if (there && facts.sem_nsems != static_cast<unsigned long>(set.values_size()))
      return fail(label_of(SystemVType::semaphores, from.id()) + ": is somebody else's by now");
    return {};
  }));
  if (!there) TRY(make(from, SystemVType::semaphores, static_cast<size_t>(set.values_size()), guard));
  return namespaces.in_ipc(from.name_space(), [&] { return there ? correct(set) : set_values(set); });
}

}  // namespace

int64_t passing_type(const image::SystemV::Queue& queue) {
  int64_t type = 1;
  auto is_there = [&] {
    return std::ranges::any_of(queue.messages(), [&](const auto& message) { return message.type() == type; });
  };
  while (is_there()) ++type;
  return type;
}

bool sends_last(const image::SystemV::Queue& queue) {
  return queue.last_sender() && queue.messages_size() &&
         queue.messages().rbegin()->text().size() <= kMostSentRemotely;
}

Result<> remake_system_v(image::SystemV& all, const MadeNamespaces& namespaces, IpcGuard& guard) {
  google::protobuf::RepeatedPtrField<image::SystemV::Queue> made;
  for (const auto& queue : all.queues())
    if (TRY(in(label_of(SystemVType::queue, queue.object().id()), remake_queue(queue, namespaces, guard))))
      *made.Add() = queue;
  all.mutable_queues()->Swap(&made);
  for (const auto& set : all.sets())
    TRY(in(label_of(SystemVType::semaphores, set.object().id()), remake_set(set, namespaces, guard)));
  return {};
}

namespace {

Result<> finish_queue(const image::SystemV::Queue& queue) {
  const Object& from = queue.object();
  struct {
    long type;
    char text[8];
  } message;
  while (::msgrcv(from.id(), &message, sizeof message.text, passing_type(queue), IPC_NOWAIT) >= 0) {
  }
  msqid_ds facts{};
  if (::msgctl(from.id(), IPC_STAT, &facts)) return fail_errno("IPC_STAT");
  if (facts.msg_qnum != static_cast<msgqnum_t>(queue.messages_size())) return fail("somebody else uses it");
  facts.msg_qbytes = queue.most_bytes();
  facts.msg_perm.uid = from.uid();
  facts.msg_perm.gid = from.gid();
  facts.msg_perm.mode = static_cast<unsigned short>(from.mode());
  return ::msgctl(from.id(), IPC_SET, &facts) ? fail_errno("IPC_SET") : Result<>();
}

Result<> finish_set(const image::SystemV::Set& set) {
  const Object& from = set.object();
  semid_ds facts{};
  if (::semctl(from.id(), 0, IPC_STAT, &facts)) return fail_errno("IPC_STAT");
  if (facts.sem_perm.uid == from.uid() && facts.sem_perm.gid == from.gid() &&
      (facts.sem_perm.mode & 0777) == from.mode())
    return {};
  facts.sem_perm.uid = from.uid();
  facts.sem_perm.gid = from.gid();
  facts.sem_perm.mode = static_cast<unsigned short>(from.mode());
  return ::semctl(from.id(), 0, IPC_SET, &facts) ? fail_errno("IPC_SET") : Result<>();
}

}  // namespace

Result<> finish_system_v(const image::SystemV& all, const MadeNamespaces& namespaces) {
  for (const auto& queue : all.queues())
    TRY(in(label_of(SystemVType::queue, queue.object().id()),
           namespaces.in_ipc(queue.object().name_space(), [&] { return finish_queue(queue); })));
  for (const auto& set : all.sets())
    TRY(in(label_of(SystemVType::semaphores, set.object().id()),
           namespaces.in_ipc(set.object().name_space(), [&] { return finish_set(set); })));
  return {};
}

}  // namespace ks::engine
