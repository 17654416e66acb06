// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/obstacles_in_memory.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

std::optional<pid_t> find_among(const Dumping& dumping, std::span<const pid_t> pids) {
  for (const auto& process : dumping.processes)
    if (std::ranges::find(pids, process.pid) != pids.end()) return process.pid;
  return std::nullopt;
}

// A file of /proc/sysvipc, and which columns hold what (proc(5)).
struct SystemVList {
  const char* name;
  const char* what;
  std::vector<size_t> pids;  // of who has used it
  size_t creator, changed;   // user, time
};
const std::array kSystemV = {SystemVList{"shm", "shared memory", {4, 5}, 9, 13},
                             SystemVList{"msg", "message queue", {5, 6}, 9, 13},
                             SystemVList{"sem", "semaphores", {}, 6, 9}};

// Semaphores tell one by one who was the last to use them.
std::vector<pid_t> users_of_semaphores(int id, unsigned count) {
  std::vector<pid_t> pids;
  pids.reserve(count);
  for (unsigned number = 0; number < count; ++number) pids.push_back(::semctl(id, static_cast<int>(number), GETPID));
  return pids;
}

// Seconds since 1970.
Result<int64_t> start_of(const StoppedProcess& process) {
  std::string text = TRY(read_file("/proc/stat"));
  for (auto line : split(text, '\n'))
    if (auto words = split_words(line); words.size() == 2 && words[0] == "btime")
      return parse_number<int64_t>(words[1]).value_or(0) +
             static_cast<int64_t>(process.stat.start_time) / ::sysconf(_SC_CLK_TCK);
  return fail("/proc/stat: does not tell when the system was booted");
}

// Whose it is that no living process has used, nobody tells. It may be that of a process whose user has made it, and
// which was there already.
Result<std::optional<pid_t>> find_suspect(const Dumping& dumping, std::span<const pid_t> users, uid_t creator,
                                          int64_t changed) {
  for (pid_t user : users)
    if (user > 0 && ::kill(user, 0) == 0) return std::nullopt;
  for (const auto& process : dumping.processes)
    if (process.status.uids[1] == creator && changed + 1 >= TRY(start_of(process))) return process.pid;
  return std::nullopt;
}

// Then it is carried with the memory of the processes.
bool is_attached(const Dumping& dumping, uint64_t id) {
  return std::ranges::any_of(dumping.processes, [&](const StoppedProcess& process) {
    return std::ranges::any_of(process.areas, [&](const Vma& area) {
      return area.shared && area.inode == id && area.path.starts_with("/SYSV");
    });
  });
}

// No file where the kernel has no System V IPC.
Result<> check_list(Dumping& dumping, const SystemVList& list) {
  auto text = read_file(std::string("/proc/sysvipc/") + list.name);
  if (!text && text.error().code == ENOENT) return {};
  std::string lines = TRY(std::move(text));
  for (auto line : split(lines, '\n')) {
    auto words = split_words(line);
    if (words.empty() || words[0] == "key") continue;
    auto number = [&](size_t column) {
      return column < words.size() ? parse_number<int64_t>(words[column]) : std::nullopt;
    };
    auto id = number(1), count = number(3), creator = number(list.creator), changed = number(list.changed);
    if (!id || !count || !creator || !changed)
      return fail(fmt::format("/proc/sysvipc/{}: not understood: {}", list.name, line));
    std::vector<pid_t> users;
    users.reserve(list.pids.size());
    for (size_t column : list.pids) users.push_back(static_cast<pid_t>(number(column).value_or(0)));
    if (list.pids.empty()) users = users_of_semaphores(static_cast<int>(*id), static_cast<unsigned>(*count));
    if (std::string_view(list.name) == "shm" && is_attached(dumping, static_cast<uint64_t>(*id))) continue;
    std::string object = fmt::format("System V {} {}", list.what, *id);
    if (auto pid = find_among(dumping, users))
      dumping.refuse(*pid, object, "not supported yet");
    else if (auto suspect = TRY(find_suspect(dumping, users, static_cast<uid_t>(*creator), *changed)))
      dumping.refuse(*suspect, object,
                     "may be its own, being of the same user, and not supported yet; if it is not needed, remove it "
                     "with ipcrm(1)");
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
  for (const SystemVList& list : kSystemV) TRY(check_list(dumping, list));
  return {};
}

Result<> check_memory_policies(Dumping& dumping, DumpedProcess& process) {
  StoppedProcess& stopped = process.stopped;
  for (size_t i = 0; i < stopped.threads.size(); ++i)
    if (process.answers.threads[i].memory_policy != MPOL_DEFAULT)
      dumping.refuse(stopped.pid, fmt::format("thread {}", stopped.threads[i].tid()),
                     "has a memory policy (set_mempolicy), which is not supported yet");
  TRY(check_areas(dumping, stopped));
  if (is_all_locked(stopped))
    dumping.refuse(stopped.pid, "memory",
                   "is all locked (mlockall), maybe for the future too, which the kernel does not tell");
  return {};
}

}  // namespace ks::engine
