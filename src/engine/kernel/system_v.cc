// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/system_v.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

constexpr int kMostAttempts = 10;
constexpr int kHighestValue = 32767;  // SEMVMX

struct TypeNames {
  const char* list;  // below /proc/sysvipc
  const char* next;  // below /proc/sys/kernel
  const char* label;
};
constexpr std::array<TypeNames, 3> kNames = {TypeNames{"shm", "shm_next_id", "shared memory"},
                                             TypeNames{"msg", "msg_next_id", "message queue"},
                                             TypeNames{"sem", "sem_next_id", "semaphores"}};
const TypeNames& names_of(SystemVType type) { return kNames[static_cast<size_t>(type)]; }

int status_of(SystemVObject& object) {
  switch (object.type) {
    case SystemVType::memory:
      return ::shmctl(object.id, IPC_STAT, &object.memory);
    case SystemVType::queue:
      return ::msgctl(object.id, IPC_STAT, &object.queue);
    default:
      return ::semctl(object.id, 0, IPC_STAT, &object.set);
  }
}

Result<> read_semaphores(SystemVObject& object) {
  auto count = static_cast<int>(object.set.sem_nsems);
  object.values.resize(static_cast<size_t>(count));
  if (::semctl(object.id, 0, GETALL, object.values.data()) < 0) return fail_errno(object.label());
  for (int number = 0; number < count; ++number) {
    int pid = ::semctl(object.id, number, GETPID);
    if (pid < 0) return fail_errno(object.label());
    object.users.push_back(pid);
  }
  return {};
}

Result<> read_object(SystemVObject& object) {
  if (status_of(object)) return fail_errno(object.label());
  switch (object.type) {
    case SystemVType::memory:
      object.permissions = object.memory.shm_perm;
      object.changed = object.memory.shm_ctime;
      object.used = std::max({object.changed, object.memory.shm_atime, object.memory.shm_dtime});
      object.users = {object.memory.shm_cpid, object.memory.shm_lpid};
      return {};
    case SystemVType::queue:
      object.permissions = object.queue.msg_perm;
      object.changed = object.queue.msg_ctime;
      object.used = std::max({object.changed, object.queue.msg_stime, object.queue.msg_rtime});
      object.users = {object.queue.msg_lspid, object.queue.msg_lrpid};
      return {};
    default:
      object.permissions = object.set.sem_perm;
      object.changed = object.set.sem_ctime;
      object.used = std::max(object.changed, object.set.sem_otime);
      return read_semaphores(object);
  }
}

bool is_gone(const Error& error) { return error.code == EINVAL || error.code == EIDRM; }

// Of this thread alone, which has lost its effective ones with its user.
void keep_capability(unsigned capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data)) return;
  auto& half = data[CAP_TO_INDEX(capability)];
  half.effective |= half.permitted & CAP_TO_MASK(capability);
  (void)::syscall(SYS_capset, &header, data);
}

// This thread alone, for as long as the object lives.
class Disguise {
 public:
  explicit Disguise(const SystemVCreator& as) {
    constexpr int kAsItIs = -1;
    (void)::syscall(SYS_setresgid, kAsItIs, as.gid, kAsItIs);
    (void)::syscall(SYS_setresuid, kAsItIs, as.uid, kAsItIs);
    keep_capability(CAP_IPC_LOCK);  // for huge pages, which a group may have too (vm.hugetlb_shm_group)
  }
  Disguise(const Disguise&) = delete;
  ~Disguise() {
    (void)::syscall(SYS_setresuid, -1, 0, -1);
    (void)::syscall(SYS_setresgid, -1, 0, -1);
  }
};

int make_one(SystemVType type, key_t key, int flags, size_t extent) {
  switch (type) {
    case SystemVType::memory:
      return ::shmget(key, extent, flags);
    case SystemVType::queue:
      return ::msgget(key, flags);
    default:
      return ::semget(key, static_cast<int>(extent), flags);
  }
}

}  // namespace

std::string label_of(SystemVType type, int id) { return fmt::format("System V {} {}", names_of(type).label, id); }
std::string SystemVObject::label() const { return label_of(type, id); }

Result<std::vector<SystemVObject>> list_system_v() {
  std::vector<SystemVObject> objects;
  for (auto type : {SystemVType::memory, SystemVType::queue, SystemVType::semaphores}) {
    auto text = read_file(fmt::format("/proc/sysvipc/{}", names_of(type).list));
    if (!text && text.error().code == ENOENT) continue;
    std::string lines = TRY(std::move(text));
    for (auto line : split(lines, '\n')) {
      auto words = split_words(line);
      if (words.empty() || words[0] == "key") continue;
      auto id = words.size() > 1 ? parse_number<int>(words[1]) : std::nullopt;
      if (!id) return fail(fmt::format("/proc/sysvipc/{}: not understood: {}", names_of(type).list, line));
      SystemVObject object{.type = type, .id = *id};
      auto read = read_object(object);
      if (!read && is_gone(read.error())) continue;
      TRY(std::move(read));
      objects.push_back(std::move(object));
    }
  }
  return objects;
}

Result<std::vector<QueuedMessage>> copy_messages(const SystemVObject& queue) {
  std::vector<QueuedMessage> messages;
  std::vector<char> buffer(sizeof(long) + queue.queue.msg_cbytes);
  for (msgqnum_t at = 0; at < queue.queue.msg_qnum; ++at) {
    ssize_t bytes =
        ::msgrcv(queue.id, buffer.data(), buffer.size() - sizeof(long), static_cast<long>(at), MSG_COPY | IPC_NOWAIT);
    if (bytes < 0) return fail_errno(queue.label());
    QueuedMessage& message = messages.emplace_back();
    std::memcpy(&message.type, buffer.data(), sizeof message.type);
    message.text.assign(buffer.data() + sizeof(long), static_cast<size_t>(bytes));
  }
  return messages;
}

Result<> make_system_v(SystemVType type, int id, key_t key, uint32_t mode, size_t extent,
                       const SystemVCreator& creator, int flags) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    TRY(write_value(fmt::format("/proc/sys/kernel/{}", names_of(type).next), std::to_string(id)));
    int made = -1, error = 0;
    {
      Disguise disguise(creator);
      made = make_one(type, key, static_cast<int>(IPC_CREAT | IPC_EXCL | (mode & 0777)) | flags, extent);
      error = errno;
    }
    if (made == id) return {};
    if (made < 0) return fail_errno("making it", error);
    TRY(remove_system_v(type, made));
  }
  return fail("its id is taken");
}

Result<> remove_system_v(SystemVType type, int id) {
  int done = type == SystemVType::memory  ? ::shmctl(id, IPC_RMID, nullptr)
             : type == SystemVType::queue ? ::msgctl(id, IPC_RMID, nullptr)
                                          : ::semctl(id, 0, IPC_RMID);
  return done ? fail_errno(label_of(type, id)) : Result<>();
}

bool is_small_value(uint16_t value) { return value <= kHighestValue / 2; }

std::vector<sembuf> shift_adjustment(unsigned short number, int value, int by) {
  std::vector<sembuf> operations;
  constexpr int kRoom = kHighestValue / 2 + 1;  // above any small value, below any other
  bool up_first = is_small_value(static_cast<uint16_t>(value));
  while (by) {
    auto step = static_cast<short>(std::min(std::abs(by), kRoom));
    // What is taken with SEM_UNDO is added to the adjustment, and the other way round.
    sembuf up{number, step, static_cast<short>(by > 0 ? 0 : SEM_UNDO)};
    sembuf down{number, static_cast<short>(-step), static_cast<short>(by > 0 ? SEM_UNDO : 0)};
    operations.push_back(up_first ? up : down);
    operations.push_back(up_first ? down : up);
    by -= by > 0 ? step : -step;
  }
  return operations;
}

Result<bool> has_adjustments(pid_t tid) {
  // Who has none has the same as this thread has after that: none.
  if (::unshare(CLONE_SYSVSEM)) return fail_errno("unshare");
  long order = ::syscall(SYS_kcmp, ::syscall(SYS_gettid), tid, KCMP_SYSVSEM, 0, 0);
  if (order < 0 && errno == EOPNOTSUPP) return false;  // a kernel without System V IPC
  return order < 0 ? fail_errno("kcmp") : Result<bool>(order != 0);
}

sembuf impossible_operation(unsigned short number) {
  return {number, static_cast<short>(-kHighestValue - 1), IPC_NOWAIT};
}

}  // namespace ks::engine
