// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/mounts.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    auto code =
        text[i] == '\\' && i + 3 < text.size() ? parse_number<unsigned>(text.substr(i + 1, 3), 8) : std::nullopt;
    plain += code ? static_cast<char>(*code) : text[i];
    if (code) i += 3;
  }
  return plain;
}

Result<std::set<Mount>> mounts_of(const std::string& mountinfo) {
  auto mounts = TRY(parse_mountinfo(TRY(read_file(mountinfo))));
  return std::set<Mount>(mounts.begin(), mounts.end());
}

Result<MountView> look_around(const std::set<Mount>& ours) {
  MountView view{.root = TRY(open_file("/", O_PATH | O_DIRECTORY))};
  view.points = TRY(parse_mountinfo(TRY(read_file("/proc/thread-self/mountinfo"))));
  std::set<Mount> its(view.points.begin(), view.points.end());
  std::ranges::set_difference(its, ours, std::back_inserter(view.mounts));
  // Where the root is a directory that nothing is mounted on (chroot(2)), the list lacks its file system.
  struct statx root{};
  if (::statx(view.root.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &root)) return fail_errno("/");
  if (!view.point(root.stx_mnt_id))
    view.points.push_back(
        {{.where = "/", .type = ""}, "", root.stx_mnt_id, makedev(root.stx_dev_major, root.stx_dev_minor)});
  return view;
}

// Entering a mount namespace leads to its root. Only a thread can do that without taking all of us along.
Result<MountView> look_inside(int space, const std::set<Mount>& ours) {
  Result<MountView> view;
  std::thread([&] {
    if (::unshare(CLONE_FS) || ::setns(space, CLONE_NEWNS))
      view = fail_errno("entering the mount namespace");
    else
      view = look_around(ours);
  }).join();
  return view;
}

}  // namespace

Result<std::vector<MountPoint>> parse_mountinfo(std::string_view text) {
  std::vector<MountPoint> mounts;
  for (auto line : split(text, '\n')) {
    auto words = split_words(line);
    auto separator = std::ranges::find(words, "-");
    if (words.size() < 7 || separator == words.end() || separator + 1 == words.end())
      return fail("mountinfo: not understood: " + std::string(line));
    std::string_view device = words[2];
    uint64_t id = 0;
    unsigned major_number = 0, minor_number = 0;
    if (!read_number(words[0], id) || !read_number(take_until(device, ':'), major_number) ||
        !read_number(device, minor_number))
      return fail("mountinfo: not understood: " + std::string(line));
    mounts.push_back({{.where = unescape(words[4]), .type = std::string(*(separator + 1))},
                      unescape(words[3]),
                      id,
                      makedev(major_number, minor_number)});
  }
  return mounts;
}

const MountPoint* MountView::point(uint64_t id) const {
  auto found = std::ranges::find(points, id, &MountPoint::id);
  return found == points.end() ? nullptr : &*found;
}

Result<MountView> view_mounts(pid_t pid) {
  auto ours = TRY(mounts_of("/proc/self/mountinfo"));
  std::string space = proc_path(pid, "ns/mnt");
  if (TRY(read_link(space)) == TRY(read_link("/proc/self/ns/mnt"))) return look_around(ours);
  return look_inside(TRY(open_file(space, O_RDONLY)).get(), ours);
}

Result<> check_mounts(pid_t pid, const std::vector<Mount>& mounts) {
  auto seen = TRY(mounts_of(proc_path(pid, "mountinfo")));
  for (const Mount& mount : mounts)
    if (!seen.contains(mount))
      return fail(mount.where + ": the " + mount.type + " mount that the processes had is missing");
  return {};
}

}  // namespace ks::engine
