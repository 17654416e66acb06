// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/machine.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <ranges>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

// Fields of /proc/PID/stat from the third one on (proc(5)); a comm may hold blanks and parentheses.
Result<std::vector<std::string>> stat_fields(pid_t pid) {
  std::string path = "/proc/" + std::to_string(pid) + "/stat";
  std::string text = TRY(read_file(path));
  size_t end = text.rfind(')');
  if (end == std::string::npos) return fail(path + ": not as expected");
  std::vector<std::string> fields;
  for (std::string_view word : split_words(std::string_view(text).substr(end + 1))) fields.emplace_back(word);
  if (fields.size() < 20) return fail(path + ": not as expected");
  return fields;
}

constexpr size_t kState = 0, kParent = 1, kGroup = 2, kSession = 3, kStart = 19;

Result<std::vector<std::string>> groups_of(const std::string& control_group) {
  std::string root = kCgroupRoot + control_group;
  std::vector<std::string> groups = {root};
  std::error_code error;
  for (auto entry = std::filesystem::recursive_directory_iterator(root, error);
       !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error))
    if (entry->is_directory(error)) groups.push_back(entry->path());
  if (error && error.value() != ENOENT) return fail(root + ": " + error.message(), error.value());
  return groups;
}

Result<std::vector<pid_t>> listed_processes(const std::string& group) {
  std::vector<pid_t> pids;
  auto text = read_file(group + "/cgroup.procs");
  if (!text) {
    if (text.error().code == ENOENT || text.error().code == ENODEV) return pids;  // the group is gone
    if (text.error().code == EOPNOTSUPP) return pids;                             // a threaded one: listed above
    return std::unexpected(text.error());
  }
  for (std::string_view word : split_words(*text))
    if (auto pid = parse_number<pid_t>(word); pid && *pid > 0) pids.push_back(*pid);
  return pids;
}

}  // namespace

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "";
}

std::string boot_id() { return std::string(trim(read_file("/proc/sys/kernel/random/boot_id").value_or(""))); }

int64_t realtime_microseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

Result<std::vector<pid_t>> cgroup_processes(const std::string& control_group) {
  std::vector<pid_t> pids;
  for (const std::string& group : TRY(groups_of(control_group))) {
    auto some = TRY(listed_processes(group));
    pids.insert(pids.end(), some.begin(), some.end());
  }
  return pids;
}

pid_t topmost_process(const std::string& control_group) {
  auto pids = cgroup_processes(control_group).value_or(std::vector<pid_t>{});
  for (pid_t pid : pids) {
    auto fields = stat_fields(pid);
    auto parent = fields ? parse_number<pid_t>((*fields)[kParent]) : std::nullopt;
    if (parent && !std::ranges::count(pids, *parent)) return pid;
  }
  return 0;
}

Result<std::string> own_control_group() {
  // A unit with Delegate= has us, as its control process, in a group below its own (systemd.unit(5)).
  constexpr std::string_view kControlProcesses = "/.control";
  std::string text = TRY(read_file("/proc/self/cgroup"));
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with("0::")) continue;
    std::string_view group = line.substr(3);
    if (group.ends_with(kControlProcesses)) group.remove_suffix(kControlProcesses.size());
    return std::string(group);
  }
  return fail("/proc/self/cgroup: no cgroup v2");
}

void remove_groups_below(const std::string& control_group) {
  auto groups = groups_of(control_group);  // parents first
  if (!groups) return;
  for (const std::string& group : std::views::reverse(*groups))
    if (group != groups->front()) ::rmdir(group.c_str());
}

Result<uint64_t> start_of(pid_t pid) {
  auto fields = TRY(stat_fields(pid));
  if (fields[kState] == "Z" || fields[kState] == "X") return fail("pid " + std::to_string(pid) + ": ended", ESRCH);
  auto start = parse_number<uint64_t>(fields[kStart]);
  if (!start) return fail("pid " + std::to_string(pid) + ": stat not as expected");
  return *start;
}

bool is_alive(const ProcessId& process) {
  auto start = start_of(process.pid);
  return start && *start == process.start;
}

std::vector<pid_t> ids_of(pid_t pid) {
  std::vector<pid_t> ids = {pid};
  for (const std::string& name :
       list_directory("/proc/" + std::to_string(pid) + "/task").value_or(std::vector<std::string>{}))
    if (auto tid = parse_number<pid_t>(name); tid && *tid != pid) ids.push_back(*tid);
  if (auto fields = stat_fields(pid))
    for (size_t field : {kGroup, kSession})
      if (auto id = parse_number<pid_t>((*fields)[field]); id && *id > 0 && *id != pid) ids.push_back(*id);
  return ids;
}

uint64_t own_memory(pid_t pid) {
  uint64_t kilobytes = 0;
  std::string status = read_file("/proc/" + std::to_string(pid) + "/status").value_or("");
  for (std::string_view line : split(status, '\n')) {
    auto words = split_words(line);
    if (words.size() < 2) continue;
    if (words[0] == "RssAnon:" || words[0] == "RssShmem:" || words[0] == "VmSwap:")
      kilobytes += parse_number<uint64_t>(words[1]).value_or(0);
  }
  return kilobytes * 1024;
}

}  // namespace ks::upgrade
