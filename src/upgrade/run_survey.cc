// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/run_survey.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

// Nothing of these is ever a service's.
constexpr std::array<std::string_view, 6> kNobodys = {"credentials", "kernel-swap", "log", "systemd", "udev", "user"};
constexpr int kDepth = 3;  // "/run/a/b/some.pid"
constexpr off_t kLargestNumber = 4096;

std::string proc(pid_t pid, std::string_view name) { return fmt::format("/proc/{}/{}", pid, name); }

// Sockets that are bound to a path below `run`, by inode (/proc/net/unix, proc(5)).
std::map<ino_t, std::string> bound_sockets(pid_t pid, const std::string& run) {
  std::map<ino_t, std::string> bound;
  std::string text = read_file(proc(pid, "net/unix")).value_or("");
  for (std::string_view line : split(text, '\n')) {
    constexpr size_t kInode = 6;
    auto words = split_words(line);
    size_t slash = line.find(" /");
    if (words.size() <= kInode + 1 || slash == std::string_view::npos) continue;
    auto inode = parse_number<ino_t>(words[kInode]);
    std::filesystem::path path(line.substr(slash + 1));
    std::error_code error;
    std::string directory = std::filesystem::canonical(path.parent_path(), error);
    if (inode && !error && lies_within(directory, run)) bound.emplace(*inode, directory / path.filename());
  }
  return bound;
}

std::set<uid_t> users_of(pid_t pid) {
  std::set<uid_t> users;
  std::string status = read_file(proc(pid, "status")).value_or("");
  for (std::string_view line : split(status, '\n'))
    if (line.starts_with("Uid:"))
      for (std::string_view word : split_words(line.substr(4)))
        if (auto user = parse_number<uid_t>(word)) users.insert(*user);
  return users;
}

class Surveyor {
 public:
  explicit Surveyor(RunSurvey& survey) : survey_(survey) {}

  void look_at(pid_t pid) {
    RunSurvey::Process process{.users = users_of(pid), .homes = {}, .written = {}, .open = {}, .sockets = {}};
    const Sockets* bound = nullptr;
    for (const char* name : {"cwd", "root"}) {
      auto home = read_link(proc(pid, name));
      if (home && is_there(*home, proc(pid, name))) process.homes.insert(*home);
    }
    for (const std::string& name : list_directory(proc(pid, "fd")).value_or(std::vector<std::string>{})) {
      std::string link = proc(pid, "fd/" + name);
      auto path = read_link(link);
      if (!path) continue;  // closed since
      if (!path->starts_with(kSocket)) {
        look_at_file(link, *path, process);
        continue;
      }
      if (!bound) bound = &sockets_around(pid);
      auto inode =
          parse_number<ino_t>(std::string_view(*path).substr(kSocket.size(), path->size() - kSocket.size() - 1));
      if (auto found = inode ? bound->find(*inode) : bound->end(); found != bound->end())
        process.sockets.insert(*found);
    }
    survey_.processes.emplace(pid, std::move(process));
  }

  void look_for_numbers(const std::string& directory, int depth) {
    for (const std::string& name : list_directory(directory).value_or(std::vector<std::string>{})) {
      std::string path = directory + "/" + name;
      struct stat stat{};
      if (::lstat(path.c_str(), &stat) || !survey_.devices.contains(stat.st_dev)) continue;
      bool nobodys = depth == kDepth && std::ranges::count(kNobodys, name);
      if (S_ISDIR(stat.st_mode) && depth > 1 && !nobodys) look_for_numbers(path, depth - 1);
      if (S_ISREG(stat.st_mode) && stat.st_size <= kLargestNumber) read_number_in(path);
    }
  }

 private:
  static constexpr std::string_view kSocket = "socket:[";  // "socket:[4711]"
  using Sockets = std::map<ino_t, std::string>;

  // Where a link of /proc leads is on the file system that we look at.
  bool is_there(const std::string& path, const std::string& link, struct stat* facts = nullptr) const {
    struct stat stat{};
    if (!lies_within(path, survey_.run) || ::stat(link.c_str(), &stat) || !survey_.devices.contains(stat.st_dev))
      return false;
    if (facts) *facts = stat;
    return true;
  }

  void look_at_file(const std::string& link, const std::string& path, RunSurvey::Process& process) const {
    struct stat stat{}, how{};
    if (!is_there(path, link, &stat) || ::lstat(link.c_str(), &how)) return;
    process.open.insert(stat.st_ino);
    // What a descriptor allows is told by the mode of its link (proc(5)).
    if (how.st_mode & S_IWUSR && stat.st_nlink) process.written.insert(path);
  }

  // A process that sees another /run has sockets of the same names elsewhere. One in a chroot(2) without any has them
  // from before.
  const Sockets& sockets_around(pid_t pid) {
    static const Sockets kNone;
    struct stat run{}, network{};
    if (::stat(proc(pid, "root" + survey_.run).c_str(), &run) == 0 && !survey_.devices.contains(run.st_dev))
      return kNone;
    if (::stat(proc(pid, "ns/net").c_str(), &network)) return kNone;
    auto [found, is_new] = sockets_.try_emplace(network.st_ino);
    if (is_new) found->second = bound_sockets(pid, survey_.run);
    return found->second;
  }

  void read_number_in(const std::string& path) {
    auto file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
    auto text = file ? read_all(file->get(), path) : std::unexpected(file.error());
    if (!text) return;
    std::string_view rest = *text;
    auto number = parse_number<pid_t>(trim(take_until(rest, '\n')));
    if (number && *number > 0) survey_.numbers.emplace(path, *number);
  }

  RunSurvey& survey_;
  std::map<ino_t, Sockets> sockets_;  // by network namespace
};

}  // namespace

Result<RunSurvey> survey_run(const std::string& run) {
  struct stat stat{};
  if (::stat(run.c_str(), &stat)) return fail_errno(run);
  RunSurvey survey{.run = run, .devices = {stat.st_dev}, .processes = {}, .numbers = {}};
  if (struct stat lock{}; ::lstat((run + "/lock").c_str(), &lock) == 0) survey.devices.insert(lock.st_dev);
  Surveyor surveyor(survey);
  for (const std::string& name : TRY(list_directory("/proc")))
    if (auto pid = parse_number<pid_t>(name)) surveyor.look_at(*pid);
  surveyor.look_for_numbers(run, kDepth);
  return survey;
}

bool lies_within(std::string_view path, std::string_view place) {
  return path == place || (path.starts_with(place) && path[place.size()] == '/');
}

}  // namespace ks::upgrade
