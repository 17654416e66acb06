// SPDX-License-Identifier: LGPL-2.1-or-later
// System V IPC (sysvipc(7)) of the IPC namespace that the calling thread is in.
#pragma once

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

enum class SystemVType : uint8_t { memory, queue, semaphores };

struct SystemVObject {
  SystemVType type = SystemVType::memory;
  int id = -1;
  ipc_perm permissions{};
  int64_t changed = 0;       // by whoever made it or set something, seconds since 1970
  int64_t used = 0;          // the last time that anything was done to it
  std::vector<pid_t> users;  // of whom the kernel still knows that they have made or used it; 0: nobody
  shmid_ds memory{};         // of its type alone
  msqid_ds queue{};
  semid_ds set{};
  std::vector<uint16_t> values;  // of semaphores

  std::string label() const;  // "System V semaphores 3"
};
std::string label_of(SystemVType type, int id);

// Those that are gone meanwhile are left out. None where the kernel has no System V IPC.
Result<std::vector<SystemVObject>> list_system_v();

struct QueuedMessage {
  long type = 0;
  std::string text;
};
// All in a queue, which stay in it. Needs a kernel with CONFIG_CHECKPOINT_RESTORE (msgrcv(2), MSG_COPY).
Result<std::vector<QueuedMessage>> copy_messages(const SystemVObject& queue);

struct SystemVCreator {
  uid_t uid = 0;
  gid_t gid = 0;
};
// Makes one under the very id: the kernel takes what is asked for if it is free, and else another. Who makes an
// object is its creator for ever, so this thread is another user for a moment. `extent` are bytes of memory, or
// semaphores, `flags` more of shmget(2).
Result<> make_system_v(SystemVType type, int id, key_t key, uint32_t mode, size_t extent,
                       const SystemVCreator& creator, int flags = 0);
Result<> remove_system_v(SystemVType type, int id);

// Operations of one semop(2) that move the caller's adjustment of a semaphore (SEM_UNDO) by `by` and leave its value
// alone, which is `value`, or another that is as small or not. They fail with ERANGE where the adjustment would leave
// its range of -32768 to 32767.
bool is_small_value(uint16_t value);
std::vector<sembuf> shift_adjustment(unsigned short number, int value, int by);

// Whether a thread has a list of adjustments at all, as every thread of a process with several has.
Result<bool> has_adjustments(pid_t tid);

// One that always fails with EAGAIN: at the end of a semop(2) it undoes all that is before it.
sembuf impossible_operation(unsigned short number);

}  // namespace ks::engine
