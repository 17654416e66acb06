// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/obstacles_in_memory.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

constexpr int kSemaphoresOfAny = 20;  // SEM_STAT_ANY, which not every header has

std::optional<pid_t> find_among(const Dumping& dumping, std::span<const pid_t> pids) {
  for (const auto& process : dumping.processes)
    if (std::ranges::find(pids, process.pid) != pids.end()) return process.pid;
  return std::nullopt;
}

// A file of /proc/sysvipc, with the columns that hold PIDs (proc(5)). Absent where the kernel has no System V IPC.
Result<> check_list(Dumping& dumping, const char* name, const char* what, std::pair<size_t, size_t> columns) {
  auto text = read_file(std::string("/proc/sysvipc/") + name);
  if (!text && text.error().code == ENOENT) return {};
  std::string lines = TRY(std::move(text));
  for (auto line : split(lines, '\n')) {
    auto words = split_words(line);
    if (words.size() <= columns.second || words[0] == "key") continue;
    auto first = parse_number<pid_t>(words[columns.first]), second = parse_number<pid_t>(words[columns.second]);
    if (!first || !second) return fail(fmt::format("/proc/sysvipc/{}: not understood: {}", name, line));
    if (auto pid = find_among(dumping, std::array{*first, *second}))
      dumping.refuse(*pid, fmt::format("System V {} {}", what, words[1]), "is not supported yet");
  }
  return {};
}

Result<> check_semaphores(Dumping& dumping) {
  seminfo limits{};
  int highest = ::semctl(0, 0, SEM_INFO, &limits);
  if (highest < 0 && errno == ENOSYS) return {};
  if (highest < 0) return fail_errno("SEM_INFO");
  for (int index = 0; index <= highest; ++index) {
    semid_ds set{};
    int id = ::semctl(index, 0, kSemaphoresOfAny, &set);
    if (id < 0) continue;  // not in use
    for (unsigned number = 0; number < set.sem_nsems; ++number) {
      pid_t user = ::semctl(id, static_cast<int>(number), GETPID);
      auto pid = user > 0 ? find_among(dumping, std::array{user}) : std::nullopt;
      if (!pid) continue;
      dumping.refuse(*pid, fmt::format("System V semaphores {}", id), "are not supported yet");
      break;
    }
  }
  return {};
}

Result<bool> has_more_than_one_node() {
  auto nodes = read_file("/sys/devices/system/node/online");
  return nodes && trim(*nodes) != "0";
}

Result<> check_areas(Dumping& dumping, const StoppedProcess& process) {
  if (!TRY(has_more_than_one_node())) return {};
  std::string lines = TRY(read_file(process.proc("numa_maps")));
  for (auto line : split(lines, '\n')) {
    auto words = split_words(line);
    if (words.size() > 1 && words[1] != "default")
      dumping.refuse(process.pid, fmt::format("area {}", words[0]),
                     fmt::format("has the memory policy {}, which is not supported yet", words[1]));
  }
  return {};
}

// Of every area alike: it is a mark of mlockall(2), and whether that holds for the future too nobody tells.
bool is_all_locked(const StoppedProcess& process) {
  bool any = false;
  for (const Vma& area : process.areas) {
    if (area.path.starts_with("[v") || area.has("ht") || area.has("io") || area.has("pf")) continue;
    if (!area.has("lo")) return false;
    any = true;
  }
  return any;
}

}  // namespace

Result<> check_system_v(Dumping& dumping) {
  TRY(check_list(dumping, "shm", "shared memory", {4, 5}));
  TRY(check_list(dumping, "msg", "message queue", {5, 6}));
  return check_semaphores(dumping);
}

Result<> check_memory_policies(Dumping& dumping, DumpedProcess& process) {
  StoppedProcess& stopped = process.stopped;
  RemoteAddress mode = process.foothold.scratch();
  for (StoppedThread& thread : stopped.threads) {
    auto got = (*TRY(process.foothold.on(thread)))(SYS_get_mempolicy, mode, 0, 0, 0, 0);
    if (!got && got.error().code == ENOSYS) break;
    TRY(in("get_mempolicy", std::move(got)));
    if (TRY(stopped.memory->read<int>(mode)) != MPOL_DEFAULT)
      dumping.refuse(stopped.pid, fmt::format("thread {}", thread.tid()),
                     "has a memory policy (set_mempolicy), which is not supported yet");
  }
  TRY(check_areas(dumping, stopped));
  if (is_all_locked(stopped))
    dumping.refuse(stopped.pid, "memory",
                   "is all locked (mlockall), maybe for the future too, which the kernel does not tell");
  return {};
}

}  // namespace ks::engine
