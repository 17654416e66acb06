// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/run_files.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

namespace fs = std::filesystem;

// Directories that belong to the system, or to all services, with all that is in them. A single file there may be
// one's own.
constexpr std::array<std::string_view, 18> kShared = {
    "blkid", "credentials", "dbus",    "faillock",   "initramfs",  "kernel-swap",
    "log",   "motd.d",      "mount",   "network",    "resolvconf", "sendsigs.omit.d",
    "shm",   "sudo",        "systemd", "tmpfiles.d", "udev",       "user"};
// Services have files in it, and some a directory.
constexpr std::string_view kLock = "lock";

// As /etc/passwd has it: a name service could make us wait.
std::set<std::string> names_of(uid_t user) {
  std::set<std::string> names = {std::to_string(user)};
  std::unique_ptr<FILE, int (*)(FILE*)> file(::fopen("/etc/passwd", "re"), ::fclose);
  if (!file) return names;
  while (const passwd* entry = ::fgetpwent(file.get()))
    if (entry->pw_uid == user) names.insert(entry->pw_name);
  return names;
}

std::string parent_of(const std::string& path) { return fs::path(path).parent_path(); }
std::string name_of(const std::string& path) { return fs::path(path).filename(); }

bool is_any_within(std::string_view path, const auto& places) {
  return std::ranges::any_of(places, [&](const std::string& place) { return lies_within(path, place); });
}

bool is_named_as_pid_file(const std::string& path) {
  std::string name = name_of(path);
  return name == "pid" || name.ends_with(".pid");
}

class Finder {
 public:
  Finder(const RunSurvey& survey, std::span<const ServiceClaim> claims, const UnitState& unit,
         const std::set<pid_t>& pids, const RunWishes& wishes)
      : survey_(survey), claims_(claims), unit_(unit), pids_(pids), wishes_(wishes) {
    for (const std::string& name : unit.runtime_directories) refilled_.push_back(survey.run + "/" + name);
    for (const auto& [pid, process] : survey.processes) {
      if (!pids.contains(pid)) continue;
      users_.insert(process.users.begin(), process.users.end());
      for (const auto& [inode, path] : process.sockets) sockets_.insert(inode);
      open_.insert(process.open.begin(), process.open.end());
    }
  }

  RunFiles find() {
    for (const std::string& path : wishes_.carry) carry_wished(path);
    for (const std::string& path : candidates()) decide(path);
    find_single_files();
    for (const std::string& directory : own_) add_whole(directory);
    for (const auto& [directory, names] : single_) add_single(directory, names);
    for (const auto& [directory, why] : left_) remark_on(directory, why);
    std::ranges::stable_sort(files_.places, {}, &Place::path);  // those above first
    return std::move(files_);
  }

 private:
  using Stat = struct stat;

  std::optional<Stat> look_at(const std::string& path) const {
    Stat stat{};
    if (::lstat(path.c_str(), &stat) || !survey_.devices.contains(stat.st_dev)) return std::nullopt;
    return stat;
  }
  bool is_directory(const std::string& path) const {
    auto stat = look_at(path);
    return stat && S_ISDIR(stat->st_mode);
  }
  bool is_below_run(const std::string& path) const { return path != survey_.run && lies_within(path, survey_.run); }
  bool may_be_its_own(const Stat& stat) const { return stat.st_uid == 0 || users_.contains(stat.st_uid); }
  bool is_excluded(const std::string& path) const {
    return is_any_within(path, refilled_) || is_any_within(path, wishes_.leave);
  }
  bool is_carried(const std::string& path) const { return is_excluded(path) || is_any_within(path, own_); }

  // The user of User=, if no process outside and no other service is of that. A user that a daemon has chosen itself
  // may be that of others too, which do not run just now, as www-data.
  bool is_of_nobody_else(uid_t user) {
    if (user == 0 || !users_.contains(user)) return false;
    auto [known, is_new] = exclusive_.try_emplace(user, true);
    if (!is_new) return known->second;
    auto names = names_of(user);
    bool others = std::ranges::any_of(survey_.processes, [&](const auto& process) {
      return !pids_.contains(process.first) && process.second.users.contains(user);
    });
    bool is_ours = false;
    for (const ServiceClaim& claim : claims_)
      if (names.contains(claim.user)) (claim.unit == unit_.name ? is_ours : others) = true;
    return known->second = is_ours && !others;
  }

  std::vector<std::string> entries(const std::string& directory) const {
    auto names = list_directory(directory).value_or(std::vector<std::string>{});
    std::ranges::sort(names);
    return names;
  }

  // Where the unit has something.
  std::set<std::string> candidates() {
    std::set<std::string> found;
    for (const auto& [pid, process] : survey_.processes) {
      if (!pids_.contains(pid)) continue;
      for (const auto& [inode, path] : process.sockets) found.insert(parent_of(path));
      for (const std::string& path : process.written) found.insert(parent_of(path));
      found.insert(process.homes.begin(), process.homes.end());
    }
    for (const auto& [path, number] : survey_.numbers)
      if (tells_of_us(path, number)) found.insert(parent_of(path));
    for (const std::string& above : {survey_.run, survey_.run + "/" + std::string(kLock)})
      for (const std::string& name : entries(above)) {
        std::string path = above + "/" + name;
        auto stat = look_at(path);
        if (stat && S_ISDIR(stat->st_mode) && is_of_nobody_else(stat->st_uid)) found.insert(path);
      }
    std::erase_if(found, [&](const std::string& path) { return !is_below_run(path) || !is_directory(path); });
    return found;
  }

  bool tells_of_us(const std::string& path, pid_t number) const {
    auto stat = pids_.contains(number) ? look_at(path) : std::nullopt;
    return stat && may_be_its_own(*stat);
  }

  // The topmost directory that is the unit's as a whole.
  void decide(const std::string& path) {
    if (is_any_within(path, refilled_)) return;
    std::string why;
    for (size_t end = path.find('/', survey_.run.size() + 1); !is_any_within(path, own_);
         end = path.find('/', end + 1)) {
      std::string directory = path.substr(0, end);
      why = why_not(directory);
      if (why.empty()) own_.insert(directory);
      if (end == std::string::npos) break;
    }
    if (!is_any_within(path, own_) && !is_everybodys(path)) left_.emplace(path, why);
  }

  void carry_wished(const std::string& path) {
    constexpr std::string_view kKey = "CarryPaths= in the mark: ";
    auto stat = is_below_run(path) ? look_at(path) : std::nullopt;
    if (is_any_within(path, refilled_)) return;
    if (!stat)
      files_.remarks.push_back({0, path, fmt::format("{}there is no such file below /run", kKey)});
    else if (!S_ISDIR(stat->st_mode))
      single_[parent_of(path)].insert(name_of(path));
    else if (parent_of(path) == survey_.run && is_everybodys(path))
      files_.remarks.push_back({0, path, fmt::format("{}it is everybody's, and stays", kKey)});
    else
      own_.insert(path);
  }

  // What else lies there, nobody would say that it is the unit's.
  bool is_everybodys(const std::string& directory) const {
    std::string_view first = std::string_view(directory).substr(survey_.run.size() + 1);
    return first == kLock || std::ranges::count(kShared, first.substr(0, first.find('/'))) > 0;
  }

  std::string why_not(const std::string& directory) const {
    auto stat = look_at(directory);
    if (!stat) return "something else is mounted there";
    if (is_everybodys(directory)) return "the directory is everybody's";
    if (is_any_within(directory, wishes_.leave)) return "its mark says so (LeavePaths=)";
    if (stat->st_mode & S_IWOTH) return "anybody may write there";
    if (!may_be_its_own(*stat)) return fmt::format("the directory belongs to user {}", stat->st_uid);
    for (const ServiceClaim& claim : claims_)
      if (auto why = claim.unit == unit_.name ? "" : claim_on(directory, claim); !why.empty()) return why;
    for (const auto& [pid, process] : survey_.processes)
      if (auto path = pids_.contains(pid) ? std::nullopt : thing_of(pid, process, directory))
        return fmt::format("{} is pid {}'s, which is not part of the service", *path, pid);
    return whose_else(directory);
  }

  std::string claim_on(const std::string& directory, const ServiceClaim& claim) const {
    for (const std::string& name : claim.runtime_directories) {
      std::string other = survey_.run + "/" + name;
      if (lies_within(other, directory) || lies_within(directory, other))
        return fmt::format("{} is RuntimeDirectory= of {}", other, claim.unit);
    }
    std::error_code error;
    fs::path file(claim.pid_file);
    std::string there = claim.pid_file.empty() ? "" : fs::weakly_canonical(file.parent_path(), error).string();
    if (!there.empty() && lies_within(there, directory))
      return fmt::format("{} is PIDFile= of {}", claim.pid_file, claim.unit);
    return {};
  }

  // What a process has there. A socket that the unit has too, as from its .socket unit, is the unit's. A number is no
  // PID of somebody else's but in a file that is named so: it may be anything that the service keeps.
  std::optional<std::string> thing_of(pid_t pid, const RunSurvey::Process& process,
                                      const std::string& directory) const {
    for (const auto& [inode, path] : process.sockets)
      if (lies_within(path, directory) && !sockets_.contains(inode)) return path;
    for (const std::string& path : process.written)
      if (lies_within(path, directory)) return path;
    for (const auto& [path, number] : survey_.numbers)
      if (number == pid && is_named_as_pid_file(path) && lies_within(path, directory)) return path;
    return std::nullopt;
  }

  // Files of users as whom no process of the unit runs. (Sockets are given to others.)
  std::string whose_else(const std::string& directory) const {
    for (const std::string& name : entries(directory)) {
      std::string path = directory + "/" + name;
      auto stat = look_at(path);
      if (!stat) continue;  // mounted there
      if (!S_ISSOCK(stat->st_mode) && !may_be_its_own(*stat))
        return fmt::format("{} belongs to user {}, as whom no process of the service runs", path, stat->st_uid);
      if (!S_ISDIR(stat->st_mode)) continue;
      if (auto why = whose_else(path); !why.empty()) return why;
    }
    return {};
  }

  void find_single_files() {
    auto take = [&](const std::string& path) {
      if (!is_carried(path)) single_[parent_of(path)].insert(name_of(path));
    };
    for (const auto& [path, number] : survey_.numbers)
      if (tells_of_us(path, number)) take(path);
    for (const std::string& name : entries(survey_.run)) {
      auto stat = look_at(survey_.run + "/" + name);
      if (stat && (S_ISREG(stat->st_mode) || S_ISLNK(stat->st_mode)) && is_of_nobody_else(stat->st_uid))
        take(survey_.run + "/" + name);
    }
    // systemd removes it when the main process ends, wherever it lies.
    fs::path pid_file(unit_.pid_file);
    std::error_code error;
    fs::path directory = pid_file.empty() ? "" : fs::canonical(pid_file.parent_path(), error);
    if (!pid_file.empty() && !error && fs::symlink_status(pid_file, error).type() == fs::file_type::regular)
      take(directory / pid_file.filename());
  }

  void add_above(const std::string& directory) {
    if (!is_below_run(directory)) return;
    for (std::string above = parent_of(directory); is_below_run(above); above = parent_of(above))
      if (above_.insert(above).second && !single_.contains(above) && !is_carried(above))
        files_.places.push_back(
            {.path = above, .of_systemd = false, .whole = false, .part = {.only = true, .paths = {}}});
  }

  void add_whole(const std::string& directory) {
    Place place{.path = directory, .of_systemd = false, .whole = true, .part = {}};
    auto leave_out = [&](const std::string& path) {
      if (path != directory && lies_within(path, directory))
        place.part.paths.insert(path.substr(directory.size() + 1));
    };
    std::ranges::for_each(refilled_, leave_out);
    std::ranges::for_each(wishes_.leave, leave_out);
    for (const auto& [path, number] : survey_.numbers) {
      if (!lies_within(path, directory) || pids_.contains(number) || !is_named_as_pid_file(path)) continue;
      leave_out(path);
      if (!is_excluded(path))
        files_.remarks.push_back(
            {0, path, fmt::format("will not be there again: pid {} is no process of the service", number)});
    }
    add_above(directory);
    files_.places.push_back(std::move(place));
  }

  void add_single(const std::string& directory, const std::set<std::string>& names) {
    add_above(directory);
    files_.places.push_back(
        {.path = directory, .of_systemd = false, .whole = false, .part = {.only = true, .paths = names}});
  }

  // Sockets come back, and so does what the unit has open.
  void remark_on(const std::string& directory, const std::string& why) {
    std::vector<std::string> names;
    for (const std::string& name : entries(directory)) {
      std::string path = directory + "/" + name;
      auto stat = look_at(path);
      if (!stat || S_ISSOCK(stat->st_mode) || open_.contains(stat->st_ino) || !may_be_its_own(*stat)) continue;
      if (is_carried(path) || left_.contains(path) || is_of_others(path)) continue;
      if (single_.contains(directory) && single_.at(directory).contains(name)) continue;
      names.push_back(name);
    }
    if (names.empty()) return;
    files_.remarks.push_back({0, directory,
                              fmt::format("{} will not be there again, for {}; see CarryPaths= in "
                                          "kernel-swap-mark(5)",
                                          fmt::join(names, ", "), why)});
  }

  bool is_of_others(const std::string& path) const {
    auto number = survey_.numbers.find(path);
    if (number != survey_.numbers.end() && survey_.processes.contains(number->second)) return true;
    return std::ranges::any_of(own_, [&](const std::string& own) { return lies_within(own, path); });
  }

  const RunSurvey& survey_;
  std::span<const ServiceClaim> claims_;
  const UnitState& unit_;
  const std::set<pid_t>& pids_;
  const RunWishes& wishes_;
  std::vector<std::string> refilled_;  // RuntimeDirectory= of the unit
  std::set<uid_t> users_;
  std::set<ino_t> sockets_, open_;
  std::map<uid_t, bool> exclusive_;
  std::set<std::string> own_, above_;
  std::map<std::string, std::string> left_;              // candidates, and why not
  std::map<std::string, std::set<std::string>> single_;  // by directory
  RunFiles files_;
};

}  // namespace

std::vector<std::string> RunFiles::paths() const {
  std::vector<std::string> paths;
  for (const Place& place : places) {
    if (place.whole) paths.push_back(place.path);
    if (!place.whole)
      for (const std::string& name : place.part.paths) paths.push_back(place.path + "/" + name);
  }
  return paths;
}

RunFiles find_run_files(const RunSurvey& survey, std::span<const ServiceClaim> claims, const UnitState& unit,
                        const std::set<pid_t>& pids, const RunWishes& wishes) {
  return Finder(survey, claims, unit, pids, wishes).find();
}

}  // namespace ks::upgrade
