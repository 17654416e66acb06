// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/members.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

Result<> add_pids(std::string_view text, std::vector<pid_t>& pids) {
  for (auto word : split_words(text)) {
    auto pid = parse_number<pid_t>(word);
    if (!pid) return fail("not a process list: " + std::string(text));
    // A process in another pid namespace than ours shows as 0.
    if (*pid == 0) return refuse("a process lies outside this pid namespace");
    pids.push_back(*pid);
  }
  return {};
}

Result<std::vector<pid_t>> list_group(const std::string& directory) {
  std::vector<pid_t> pids;
  auto listed = read_file(directory + "/cgroup.procs");
  // In a threaded group there are only threads of processes that the group at the top of it lists.
  if (listed || listed.error().code != EOPNOTSUPP) TRY(add_pids(TRY(std::move(listed)), pids));
  std::error_code error;
  std::filesystem::directory_iterator below(directory, error);
  if (error) return fail(directory + ": " + error.message(), error.value());
  for (const auto& entry : below) {
    if (!entry.is_directory(error)) continue;
    auto inner = list_group(entry.path());
    if (!inner && inner.error().code == ENOENT) continue;  // removed meanwhile
    for (pid_t pid : TRY(std::move(inner))) pids.push_back(pid);
  }
  return pids;
}

Result<std::vector<pid_t>> list_children(pid_t pid) {
  std::vector<pid_t> children;
  auto tids = list_directory(proc_path(pid, "task"));
  if (!tids) return children;  // it has ended
  for (const auto& tid : *tids)
    if (auto text = read_file(proc_path(pid, "task/" + tid + "/children"))) TRY(add_pids(*text, children));
  return children;
}

}  // namespace

Result<std::vector<pid_t>> list_tree(pid_t root) {
  std::vector<pid_t> pids{root};
  if (::access(proc_path(root, "task").c_str(), F_OK))
    return fail(fmt::format("pid {}: no such process", root), ESRCH);
  for (size_t at = 0; at < pids.size(); ++at)
    for (pid_t child : TRY(list_children(pids[at]))) pids.push_back(child);
  return pids;
}

Result<std::vector<pid_t>> list_cgroup(const std::string& directory) {
  auto pids = TRY(list_group(directory));
  std::unordered_set<pid_t> known(pids.begin(), pids.end());
  for (size_t at = 0, living = pids.size(); at < living; ++at)
    for (pid_t child : TRY(list_children(pids[at])))
      if (!known.contains(child) && TRY(has_ended(child))) pids.push_back(child);
  return pids;
}

Result<std::vector<pid_t>> list_threads(pid_t pid) {
  std::vector<pid_t> tids;
  auto names = list_directory(proc_path(pid, "task"));
  if (!names) return tids;  // it has ended
  for (const auto& name : *names)
    if (auto tid = parse_number<pid_t>(name)) tids.push_back(*tid);
  std::ranges::sort(tids, [&](pid_t a, pid_t b) { return std::pair(a != pid, a) < std::pair(b != pid, b); });
  return tids;
}

Result<bool> is_ring_worker(pid_t pid, pid_t tid) {
  constexpr uint32_t kWorker = 0x10;  // PF_IO_WORKER (linux/sched.h), since 5.12
  auto name = read_record(proc_path(pid, fmt::format("task/{}/comm", tid)));  // which costs less
  if (!name || !name->starts_with("iou-")) return false;
  auto text = read_record(proc_path(pid, fmt::format("task/{}/stat", tid)));
  if (!text) return false;  // it has ended
  return (TRY(parse_stat(*text)).flags & kWorker) != 0;
}

}  // namespace ks::engine
