// SPDX-License-Identifier: LGPL-2.1-or-later
// IPC namespaces (ipc_namespaces(7)): limits, and which POSIX message queues there are. System V objects are carried.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/namespace_state.h"
#include "engine/kernel/namespace.h"

namespace ks::engine {

namespace {

void add_limit(const std::string& path, std::set<std::string>& state) {
  if (auto value = read_file("/proc/sys/" + path)) state.insert(path + " = " + std::string(trim(*value)));
}

Result<std::set<std::string>> describe() {
  std::set<std::string> state;
  for (const char* limit : {"msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced",
                            "auto_msgmni", "msg_next_id", "sem_next_id", "shm_next_id"})
    add_limit(std::string("kernel/") + limit, state);
  for (const char* limit : {"msg_default", "msg_max", "msgsize_default", "msgsize_max", "queues_max"})
    add_limit(std::string("fs/mqueue/") + limit, state);
  return state;
}

Result<std::set<std::string>> describe_inside(int fd) {
  std::set<std::string> state;
  TRY(inside(fd, CLONE_NEWIPC, [&]() -> Result<> {
    state = TRY(describe());
    return {};
  }));
  return state;
}

}  // namespace

std::string first_difference(const std::set<std::string>& has, const std::set<std::string>& expected) {
  for (const auto& line : has)
    if (!expected.contains(line)) return line;
  for (const auto& line : expected)
    if (!has.contains(line)) return "without " + line;
  return "";
}

// Their file system is mounted where only this descriptor sees it.
Result<std::vector<NamedQueue>> list_message_queues() {
  std::vector<NamedQueue> queues;
  Fd context(static_cast<int>(::syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC)));
  if (!context && errno == ENODEV) return queues;
  if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0))
    return fail_errno("mqueue");
  Fd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!mount) return fail_errno("mqueue");
  for (const auto& name : TRY(list_directory("/proc/thread-self/fd/" + std::to_string(mount.get())))) {
    struct stat stat{};
    if (::fstatat(mount.get(), name.c_str(), &stat, 0) == 0)
      queues.push_back({.name = name, .uid = stat.st_uid, .used = stat.st_ctim.tv_sec});
  }
  return queues;
}

Result<std::string> surplus_of_ipc(int fd, int fresh) {
  return first_difference(TRY(describe_inside(fd)), TRY(describe_inside(fresh)));
}

}  // namespace ks::engine
