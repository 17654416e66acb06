// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/control_groups.h"
#include "engine/target/process.h"
#include "engine/task/control_groups.h"

namespace ks::engine {

namespace {

using Group = image::ControlGroups::Group;

Result<> write_if_other(const std::string& path, const std::string& value) {
  auto now = read_file(path);
  if (now && trim(*now) == value) return {};
  return write_value(path, value);
}

// Its files are those of this kernel: some may be missing.
Result<> set_owner(const std::string& path, const image::ControlGroups::Owner& owner) {
  struct stat stat{};
  if (::stat(path.c_str(), &stat)) return errno == ENOENT ? Result<>{} : fail_errno(path);
  if ((stat.st_uid != owner.user() || stat.st_gid != owner.group()) &&
      ::chown(path.c_str(), owner.user(), owner.group()))
    return fail_errno(path);
  if ((stat.st_mode & 07777) != owner.mode() && ::chmod(path.c_str(), owner.mode())) return fail_errno(path);
  return {};
}

Result<> furnish(const std::string& directory, const Group& group) {
  if (group.threaded()) TRY(write_if_other(directory + "/cgroup.type", "threaded"));
  for (const auto& setting : group.settings()) TRY(write_if_other(directory + "/" + setting.name(), setting.value()));
  for (const auto& attribute : group.attributes())
    if (::setxattr(directory.c_str(), attribute.name().c_str(), attribute.value().data(), attribute.value().size(),
                   0))
      return fail_errno(directory);
  for (const auto& owner : group.owners())
    TRY(set_owner(owner.name().empty() ? directory : directory + "/" + owner.name(), owner));
  return {};
}

}  // namespace

Result<MadeControlGroups> MadeControlGroups::make(const image::ControlGroups& wanted, pid_t like,
                                                  const std::string& unit) {
  MadeControlGroups made;
  std::string mounts = TRY(read_file("/proc/self/mountinfo"));
  for (const auto& its : TRY(parse_memberships(TRY(read_file(proc_path(like, "cgroup")))))) {
    std::string top = find_hierarchy(mounts, its.hierarchy);
    if (!top.empty()) made.bases_[its.hierarchy] = top + (its.path == "/" ? "" : its.path);
  }
  if (!unit.empty()) made.bases_[""] = unit;
  for (const Group& group : wanted.groups()) {
    std::string directory = TRY(made.directory(group.hierarchy(), group.path()));
    // It may be left from an attempt that was cut short.
    if (::mkdir(directory.c_str(), 0755) == 0)
      made.made_.push_back(directory);
    else if (errno != EEXIST)
      return fail_errno(directory);
    TRY(in("control group", furnish(directory, group)));
  }
  return made;
}

MadeControlGroups::~MadeControlGroups() {
  for (const auto& directory : std::views::reverse(made_)) ::rmdir(directory.c_str());
}

Result<std::string> MadeControlGroups::directory(const std::string& hierarchy, const std::string& path) const {
  auto base = bases_.find(hierarchy);
  if (base == bases_.end()) return fail(fmt::format("control groups of {} are not mounted", hierarchy));
  return path.empty() ? base->second : base->second + "/" + path;
}

Result<> MadeControlGroups::enter(pid_t pid) const {
  std::string mounts = TRY(read_file("/proc/self/mountinfo"));
  for (const auto& its : TRY(parse_memberships(TRY(read_file(proc_path(pid, "cgroup")))))) {
    auto base = bases_.find(its.hierarchy);
    if (base == bases_.end()) continue;
    if (base->second == find_hierarchy(mounts, its.hierarchy) + (its.path == "/" ? "" : its.path)) continue;
    TRY(in("control group", write_value(base->second + "/cgroup.procs", std::to_string(pid))));
  }
  return {};
}

Result<> MadeControlGroups::distribute(const image::ControlGroups& wanted) const {
  for (const auto& member : wanted.members()) {
    std::string file = TRY(directory(member.hierarchy(), member.path()));
    file += member.tid() == member.pid() ? "/cgroup.procs"
            : member.hierarchy().empty() ? "/cgroup.threads"
                                         : "/tasks";
    TRY(in(fmt::format("pid {}", member.pid()), write_value(file, std::to_string(member.tid()))));
  }
  return {};
}

}  // namespace ks::engine
