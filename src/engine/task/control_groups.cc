// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/control_groups.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/control_groups.h"

namespace ks::engine {

namespace {

constexpr const char* kObject = "control group";

// What a group without controllers has that can be written to: actions, and triggers, which belong to whoever has
// opened them,
constexpr std::array<std::string_view, 10> kActions = {
    "cgroup.procs",    "cgroup.threads", "cgroup.kill",  "cgroup.type", "cpu.pressure",
    "memory.pressure", "io.pressure",    "irq.pressure", "tasks",       "cgroup.event_control"};
// settings,
struct Setting {
  std::string_view name, of_new;  // empty: that of the group above
};
constexpr std::array kSettings = {Setting{"cgroup.max.depth", "max"}, Setting{"cgroup.max.descendants", "max"},
                                  Setting{"cgroup.pressure", "1"}, Setting{"notify_on_release", ""},
                                  Setting{"cgroup.clone_children", ""}};
// and such as must be as in a new one.
constexpr std::array kFixed = {Setting{"cgroup.subtree_control", ""}, Setting{"cgroup.freeze", "0"}};

void describe_owner(const std::string& name, const struct stat& stat, image::ControlGroups::Group& out) {
  auto* owner = out.add_owners();
  owner->set_name(name);
  owner->set_mode(stat.st_mode & 07777);
  owner->set_user(stat.st_uid);
  owner->set_group(stat.st_gid);
}

Result<> describe_attributes(const std::string& directory, image::ControlGroups::Group& out) {
  char names[65536];
  ssize_t length = ::listxattr(directory.c_str(), names, sizeof names);
  if (length < 0 && errno == ENOTSUP) return {};
  if (length < 0) return fail_errno(directory);
  for (const char* name = names; name < names + length; name += std::string_view(name).size() + 1) {
    char value[65536];
    ssize_t bytes = ::getxattr(directory.c_str(), name, value, sizeof value);
    if (bytes < 0) return fail_errno(directory);
    auto* attribute = out.add_attributes();
    attribute->set_name(name);
    attribute->set_value(value, static_cast<size_t>(bytes));
  }
  return {};
}

Result<> describe_group(const std::string& directory, image::ControlGroups::Group& out) {
  struct stat stat{};
  if (::stat(directory.c_str(), &stat)) return fail_errno(directory);
  describe_owner("", stat, out);
  TRY(describe_attributes(directory, out));
  for (const auto& name : TRY(list_directory(directory))) {
    std::string path = directory + "/" + name;
    if (::lstat(path.c_str(), &stat)) return fail_errno(path);
    if (!S_ISREG(stat.st_mode)) continue;
    if (name == "cgroup.type") out.set_threaded(trim(TRY(read_file(path))) == "threaded");
    auto setting = std::ranges::find(kSettings, name, &Setting::name),
         fixed = std::ranges::find(kFixed, name, &Setting::name);
    if (setting != kSettings.end()) {
      std::string value(trim(TRY(read_file(path))));
      if (value != setting->of_new) {
        auto* written = out.add_settings();
        written->set_name(name);
        written->set_value(value);
      }
    } else if (fixed != kFixed.end()) {
      std::string value(trim(TRY(read_file(path))));
      if (value != fixed->of_new)
        return refuse(fmt::format("{}: {} is \"{}\", which is not supported yet", directory, name, value));
    } else if (std::ranges::find(kActions, name) == kActions.end()) {
      if (!(stat.st_mode & 0222)) continue;
      return refuse(
          fmt::format("{}: {} belongs to a controller, which is not supported yet in a group of the unit's own",
                      directory, name));
    }
    describe_owner(name, stat, out);
  }
  return {};
}

class Survey {
 public:
  Survey(Dumping& dumping, const std::string& unit) : dumping_(dumping), unit_(unit) {}

  Result<image::ControlGroups> make() {
    mounts_ = TRY(read_file("/proc/self/mountinfo"));
    for (const auto& process : dumping_.processes) {
      if (process.zombie) continue;
      if (bases_.empty()) TRY(find_bases(process));
      std::map<std::string, std::string> of_leader;
      for (const StoppedThread& thread : process.threads)
        for (const auto& its :
             TRY(parse_memberships(TRY(read_record(process.proc(fmt::format("task/{}/cgroup", thread.tid())))))))
          add(process.pid, thread.tid(), its, of_leader);
    }
    // Those in which nobody is, too: the unit may count on them.
    if (!unit_.empty()) TRY(add_all());
    for (const auto& [hierarchy, path] : needed_) {
      auto* group = out_.add_groups();
      group->set_hierarchy(hierarchy);
      group->set_path(path);
      auto described = describe_group(directory(hierarchy, path), *group);
      if (!described && described.error().refusal)
        dumping_.refuse(0, kObject, described.error().what);
      else
        TRY(std::move(described));
    }
    return std::move(out_);
  }

 private:
  Result<> find_bases(const StoppedProcess& process) {
    for (auto& its : TRY(parse_memberships(TRY(read_file(process.proc("cgroup")))))) bases_[its.hierarchy] = its.path;
    if (unit_.empty()) return {};
    std::string top = find_hierarchy(mounts_, "");
    auto base = top.empty() ? std::nullopt : path_below(top, unit_);
    if (!base) return fail(unit_ + ": not a group of cgroup v2");
    bases_[""] = "/" + *base;
    // systemd leaves these alone: what they say the unit has set for itself.
    for (auto [name, of_new] : {Setting{"cgroup.subtree_control", ""}, kSettings[0], kSettings[1]}) {
      std::string value(trim(read_file(fmt::format("{}/{}", unit_, name)).value_or(std::string(of_new))));
      if (value != of_new)
        dumping_.refuse(0, kObject, fmt::format("{}/{} is \"{}\", which is not supported yet", unit_, name, value));
    }
    return {};
  }

  std::string directory(const std::string& hierarchy, const std::string& path) const {
    std::string base = bases_.at(hierarchy);
    return find_hierarchy(mounts_, hierarchy) + (base == "/" ? "" : base) + "/" + path;
  }

  void need(const std::string& hierarchy, const std::string& path) {
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
      needed_.emplace(hierarchy, path.substr(0, slash));
    needed_.emplace(hierarchy, path);
  }

  void add(pid_t pid, pid_t tid, const GroupMembership& its, std::map<std::string, std::string>& of_leader) {
    std::string object = tid == pid ? kObject : fmt::format("thread {}", tid);
    auto base = bases_.find(its.hierarchy);
    auto path = base == bases_.end() ? std::nullopt : path_below(base->second, its.path);
    if (!path)
      return dumping_.refuse(
          pid, object, fmt::format("is in the control group {}, which is not below that of the service", its.path));
    if (!path->empty() && find_hierarchy(mounts_, its.hierarchy).empty())
      return dumping_.refuse(pid, object,
                             fmt::format("is in a control group of {}, which is not mounted", its.hierarchy));
    if (tid == pid)
      of_leader[its.hierarchy] = *path;
    else if (of_leader[its.hierarchy] == *path)
      return;
    if (tid == pid && path->empty()) return;
    if (!path->empty()) need(its.hierarchy, *path);
    auto* member = out_.add_members();
    member->set_pid(pid);
    member->set_tid(tid);
    member->set_hierarchy(its.hierarchy);
    member->set_path(*path);
  }

  Result<> add_all() {
    std::error_code error;
    auto walk = std::filesystem::recursive_directory_iterator(unit_, error);
    for (; !error && walk != std::filesystem::recursive_directory_iterator(); walk.increment(error))
      if (walk->is_directory(error)) need("", *path_below(unit_, walk->path().string()));
    if (error) return fail(unit_ + ": " + error.message(), error.value());
    return {};
  }

  Dumping& dumping_;
  const std::string& unit_;
  std::string mounts_;
  std::map<std::string, std::string> bases_;
  std::set<std::pair<std::string, std::string>> needed_;  // a group sorts before those below it
  image::ControlGroups out_;
};

}  // namespace

Result<image::ControlGroups> survey_control_groups(Dumping& dumping, const std::string& unit) {
  return in(kObject, Survey(dumping, unit).make());
}

}  // namespace ks::engine
