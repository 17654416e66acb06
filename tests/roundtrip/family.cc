// SPDX-License-Identifier: LGPL-2.1-or-later
#include "family.h"

#include <fmt/format.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/proc.h"

namespace ks::test {

namespace {

std::map<pid_t, int>& ends() {
  static std::map<pid_t, int> noted;
  return noted;
}

}  // namespace

int patience() {
  const char* given = ::getenv("PATIENCE");
  return std::max(1, given ? parse_number<int>(given).value_or(1) : 1);
}

void become_reaper() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // Restored processes would belong to the start of the unit in which these tests run.
  if (::syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "invocation_id", 0) >= 0)
    ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
}

std::vector<pid_t> descendants(pid_t of) {
  std::vector<pid_t> pids{of};
  for (size_t at = 0; at < pids.size(); ++at) {
    std::string tasks = "/proc/" + std::to_string(pids[at]) + "/task";
    auto tids = list_directory(tasks);
    if (!tids) continue;
    for (const auto& tid : *tids)
      if (auto children = read_file(tasks + "/" + tid + "/children"))
        for (auto word : split_words(*children))
          if (auto pid = parse_number<pid_t>(trim(word))) pids.push_back(*pid);
  }
  pids.erase(pids.begin());
  return pids;
}

void reap() {
  int status;
  while (pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL)) {
    if (pid < 0) break;
    ends()[pid] = status;
  }
}

std::optional<int> await_end(pid_t pid, std::chrono::milliseconds limit) {
  auto until = std::chrono::steady_clock::now() + limit;
  for (auto pause = 50us;; pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
    reap();
    if (auto noted = ends().extract(pid)) return noted.mapped();
    if (std::chrono::steady_clock::now() > until) return std::nullopt;
    std::this_thread::sleep_for(pause);
  }
}

void forget_end(pid_t pid) { ends().erase(pid); }

namespace {

// All tasks of a process and its descendants that still are; without those that have ended meanwhile.
std::map<pid_t, engine::Status> tasks_of(pid_t root) {
  std::map<pid_t, engine::Status> tasks;
  std::vector<pid_t> pids = descendants(root);
  pids.push_back(root);
  for (pid_t pid : pids)
    for (const auto& tid : list_directory(fmt::format("/proc/{}/task", pid)).value_or(std::vector<std::string>{})) {
      auto text = read_file(fmt::format("/proc/{}/task/{}/status", pid, tid));
      auto status = text ? engine::parse_status(*text) : std::unexpected(text.error());
      if (status) tasks.emplace(status->pid, std::move(*status));
    }
  return tasks;
}

}  // namespace

std::string await_unseized(pid_t root) {
  std::string traced;
  for (auto until = std::chrono::steady_clock::now() + 20s * patience(); std::chrono::steady_clock::now() < until;) {
    traced.clear();
    for (const auto& [tid, status] : tasks_of(root))
      if (status.tracer_pid || status.state == 't') traced += fmt::format("{}/{} is traced\n", status.tgid, tid);
    if (traced.empty()) break;
    std::this_thread::sleep_for(1ms);
  }
  return traced;
}

std::string await_sleep(pid_t root) {
  auto until = std::chrono::steady_clock::now() + 20s * patience();
  auto awake = tasks_of(root);
  for (;;) {
    auto now = tasks_of(root);
    std::erase_if(awake, [&](const auto& task) {
      auto found = now.find(task.first);
      return found == now.end() || (found->second.state != 'R' && found->second.state != 't');
    });
    if (awake.empty()) return "";
    if (std::chrono::steady_clock::now() > until)
      return fmt::format("{} does not come to sleep", awake.begin()->first);
    std::this_thread::sleep_for(1ms);
  }
}

std::string where_threads_are(pid_t root) {
  std::string where;
  std::vector<pid_t> pids = descendants(root);
  pids.push_back(root);
  for (pid_t pid : pids)
    for (const auto& tid : list_directory(fmt::format("/proc/{}/task", pid)).value_or(std::vector<std::string>{})) {
      auto read = [&](const char* name) {
        return std::string(trim(read_file(fmt::format("/proc/{}/task/{}/{}", pid, tid, name)).value_or("")));
      };
      where += fmt::format("{}/{} ({}): {} {}\n", pid, tid, read("comm"), read("wchan"), read("syscall"));
    }
  return where;
}

void kill_descendants() {
  for (;;) {
    auto pids = descendants(::getpid());
    if (pids.empty()) break;
    for (pid_t pid : pids) ::kill(pid, SIGKILL);
    reap();
    std::this_thread::sleep_for(200us);
  }
  ends().clear();
}

}  // namespace ks::test
