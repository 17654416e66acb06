// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/volatile.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/open_resolved.h"
#include "upgrade/readiness.h"
#include "upgrade/run_survey.h"
#include "upgrade/unit_root.h"

namespace ks::upgrade {

namespace {

// A place, open. Its path is what the reader of a message knows, not how we got there.
struct OpenPlace {
  Fd directory;
  std::string path;
  std::string way() const { return fmt::format("/proc/self/fd/{}", directory.get()); }

  template <class T>
  Result<T> as_seen(Result<T> result) const {
    if (result) return result;
    Error error = std::move(result).error();
    for (size_t at; (at = error.what.find(way())) != std::string::npos;) error.what.replace(at, way().size(), path);
    return std::unexpected(std::move(error));
  }
};

// A directory of ours may be a service's own, which can put links there.
Result<Fd> open_without_links(const std::string& path) {
  return open_resolved(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
}

Result<OpenPlace> open_place(const std::string& path, bool of_systemd, pid_t pid) {
  if (!of_systemd) return OpenPlace{TRY(open_without_links(path)), path};
  Fd root = TRY(unit_root(pid));
  return OpenPlace{TRY(open_resolved(root.get(), path, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT)), path};
}

Result<OpenPlace> open_place(const SavedPlace& place, pid_t pid) {
  return open_place(place.path, place.of_systemd, pid);
}

std::string setting_of(std::string_view place) {
  return place.starts_with("/run/") ? "RuntimeDirectory=" : "PrivateTmp=";
}

// What is open or mapped there, the engine finds by name. Below /run it carries it, as all that no disk keeps.
std::vector<engine::Reason> rooted_within(std::span<const std::string> places, std::span<const pid_t> pids) {
  std::vector<engine::Reason> reasons;
  for (pid_t pid : pids)
    if (auto path = read_link(fmt::format("/proc/{}/root", pid)))
      for (const std::string& place : places)
        if (lies_within(*path, place) && !place.starts_with("/run/"))
          reasons.push_back(
              {pid, fmt::format("root ({})", *path),
               fmt::format("systemd makes {} anew at each start ({}): not supported yet", place, setting_of(place))});
  return reasons;
}

Result<> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700)) return fail_errno(path);
  return {};
}

}  // namespace

std::vector<std::string> volatile_places(const UnitState& unit) {
  std::vector<std::string> all, places;
  for (const std::string& name : unit.runtime_directories) all.push_back("/run/" + name);
  if (unit.private_tmp) all.insert(all.end(), {"/tmp", "/var/tmp"});
  for (const std::string& one : all) {
    auto holds_it = [&](const std::string& other) { return other != one && lies_within(one, other); };
    if (std::ranges::none_of(all, holds_it) && !std::ranges::count(places, one)) places.push_back(one);
  }
  return places;
}

std::vector<Place> as_places(std::span<const std::string> of_systemd) {
  std::vector<Place> places;
  for (const std::string& path : of_systemd) places.push_back({.path = path, .part = {}});
  return places;
}

std::vector<engine::Reason> place_reasons(const UnitState& unit, std::span<const Place> places,
                                          std::span<const pid_t> pids) {
  auto reasons = rooted_within(volatile_places(unit), pids);
  if (auto measured = measure_places(places, process_of(unit)); !measured)
    reasons.push_back({0, "its files below /run or in a private /tmp", measured.error().what});
  return reasons;
}

std::vector<engine::Reason> loss_reasons(const UnitState& unit) {
  std::vector<engine::Reason> reasons;
  pid_t inside = process_of(unit);
  for (const std::string& place : volatile_places(unit)) {
    auto there = open_place(place, true, inside);
    auto names = there ? list_directory(there->way()) : std::unexpected(there.error());
    if (!names && names.error().code != ENOENT) reasons.push_back({0, setting_of(place), names.error().what});
    if (names && !names->empty())
      reasons.push_back(
          {0, setting_of(place), fmt::format("{}/{} would be lost with the unit", place, names->front())});
  }
  return reasons;
}

Result<uint64_t> measure_places(std::span<const Place> places, pid_t pid) {
  uint64_t bytes = 0;
  for (const Place& place : places) {
    auto there = open_place(place.path, place.of_systemd, pid);
    if (!there && there.error().code == ENOENT) continue;
    if (!there) return std::unexpected(there.error());
    bytes += TRY(there->as_seen(measure_tree(there->way(), place.part)));
  }
  return bytes;
}

Result<std::vector<SavedPlace>> save_places(std::span<const Place> places, pid_t pid, const std::string& directory) {
  std::vector<SavedPlace> saved;
  for (const Place& place : places) {
    auto there = open_place(place.path, place.of_systemd, pid);
    if (!there && there.error().code == ENOENT) continue;  // the unit has removed it
    if (!there) return std::unexpected(there.error());
    if (saved.empty()) TRY(make_directory(directory));
    SavedPlace one{.path = place.path,
                   .name = std::to_string(saved.size()),
                   .digest = "",
                   .bytes = TRY(there->as_seen(measure_tree(there->way(), place.part))),
                   .of_systemd = place.of_systemd,
                   .whole = place.whole};
    std::string to = directory + "/" + one.name;
    TRY(make_directory(to));
    TRY(there->as_seen(copy_tree(there->way(), to, place.part)));
    one.digest = TRY(digest_tree(to));
    saved.push_back(std::move(one));
  }
  return saved;
}

Result<> sync_saved(const std::string& directory) {
  Fd file = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(file.get())) return fail_errno(directory);
  return {};
}

Result<std::vector<FoundThere>> find_there(std::span<const SavedPlace> places, pid_t pid,
                                           const std::string& directory) {
  std::vector<FoundThere> found;
  for (const SavedPlace& place : places) {
    FoundThere& one = found.emplace_back();
    auto there = open_place(place, pid);
    if (!there && there.error().code == ENOENT) continue;
    if (!there) return std::unexpected(there.error());
    one.place = true;
    one.paths = TRY(there->as_seen(in_the_way(directory + "/" + place.name, there->way())));
  }
  return found;
}

namespace {

// Those of systemd are there, and most others too (tmpfiles.d(5)).
Result<OpenPlace> make_place(const SavedPlace& place, pid_t pid, bool& made) {
  auto there = open_place(place, pid);
  made = !there && there.error().code == ENOENT && !place.of_systemd;
  if (!made) return there;
  size_t slash = place.path.rfind('/');
  Fd above = TRY(open_without_links(place.path.substr(0, std::max<size_t>(slash, 1))));
  if (::mkdirat(above.get(), place.path.c_str() + slash + 1, 0700)) return fail_errno(place.path);
  return open_place(place, pid);
}

Result<> load_place(const SavedPlace& place, pid_t pid, const std::string& copy, std::vector<std::string>& kept) {
  bool made = false;
  OpenPlace there = TRY(make_place(place, pid, made));
  for (const std::string& path : TRY(there.as_seen(copy_tree(copy, there.way(), {}, place.whole || made))))
    kept.push_back(place.path + path.substr(there.way().size()));
  return {};
}

}  // namespace

Result<std::vector<std::string>> load_places(std::span<const SavedPlace> places, pid_t pid,
                                             const std::string& directory, std::vector<std::string>& failed) {
  for (const SavedPlace& place : places)
    if (TRY(digest_tree(directory + "/" + place.name)) != place.digest)
      return fail(place.path + ": damaged: the checksum of what is to lie there differs");
  std::vector<std::string> kept;
  for (const SavedPlace& place : places) {
    auto loaded = load_place(place, pid, directory + "/" + place.name, kept);
    if (!loaded && place.whole) return std::unexpected(loaded.error());
    if (!loaded) failed.push_back(loaded.error().what);
  }
  return kept;
}

Result<> unload_places(std::span<const SavedPlace> places, pid_t pid, const std::string& directory,
                       std::span<const FoundThere> found) {
  Result<> done;
  for (size_t i = std::min(places.size(), found.size()); i-- > 0;) {  // a directory after what is in it
    const SavedPlace& place = places[i];
    auto there = open_place(place, pid);
    if (!there) continue;
    auto removed = there->as_seen(remove_copy(directory + "/" + place.name, there->way(), found[i].paths));
    if (!removed && done) done = std::move(removed);
    if (!found[i].place && !place.of_systemd) ::rmdir(place.path.c_str());
  }
  return done;
}

}  // namespace ks::upgrade
