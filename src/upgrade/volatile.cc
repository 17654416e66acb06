// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/volatile.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "upgrade/file_tree.h"

namespace ks::upgrade {

namespace {

std::string seen_by(pid_t pid, const std::string& place) { return fmt::format("/proc/{}/root{}", pid, place); }

// PLACE is what the reader of a message knows, not how we got there.
template <class T>
Result<T> as_seen(pid_t pid, Result<T> result) {
  if (result) return result;
  Error error = std::move(result).error();
  std::string root = seen_by(pid, "");
  for (size_t at; (at = error.what.find(root)) != std::string::npos;) error.what.erase(at, root.size());
  return std::unexpected(std::move(error));
}

bool lies_within(std::string_view path, std::string_view place) {
  return path == place || (path.starts_with(place) && path[place.size()] == '/');
}

std::string setting_of(std::string_view place) {
  return place.starts_with("/run/") ? "RuntimeDirectory=" : "PrivateTmp=";
}

// What the links of a directory of /proc lead to, with their names.
std::vector<std::pair<std::string, std::string>> links_of(pid_t pid, const char* directory) {
  std::vector<std::pair<std::string, std::string>> links;
  std::string path = fmt::format("/proc/{}/{}", pid, directory);
  for (const std::string& name : list_directory(path).value_or(std::vector<std::string>{}))
    if (auto target = read_link(path + "/" + name)) links.emplace_back(name, *target);
  return links;
}

std::vector<engine::Reason> mapped_within(std::span<const std::string> places, std::span<const pid_t> pids) {
  std::vector<engine::Reason> reasons;
  auto heed = [&](pid_t pid, const std::string& object, const std::string& path) {
    for (const std::string& place : places)
      if (lies_within(path, place))
        reasons.push_back({pid, fmt::format("{} ({})", object, path),
                           fmt::format("in use, and systemd makes {} anew at each start ({}): not supported yet",
                                       place, setting_of(place))});
  };
  for (pid_t pid : pids) {
    for (const auto& [name, path] : links_of(pid, "map_files")) heed(pid, "mapping " + name, path);
    for (const char* name : {"root", "exe"})
      if (auto path = read_link(fmt::format("/proc/{}/{}", pid, name))) heed(pid, name, *path);
  }
  return reasons;
}

Result<> sync_file_system(const std::string& directory) {
  Fd file = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(file.get())) return fail_errno(directory);
  return {};
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

std::vector<engine::Reason> place_reasons(const UnitState& unit, std::span<const pid_t> pids) {
  auto places = volatile_places(unit);
  if (places.empty()) return {};
  auto reasons = mapped_within(places, pids);
  if (auto measured = measure_places(unit); !measured)
    reasons.push_back({0, "RuntimeDirectory= or PrivateTmp=", measured.error().what});
  return reasons;
}

std::vector<engine::Reason> loss_reasons(const UnitState& unit) {
  std::vector<engine::Reason> reasons;
  for (const std::string& place : volatile_places(unit)) {
    auto names = list_directory(seen_by(unit.main_pid, place));
    if (names && !names->empty())
      reasons.push_back(
          {0, setting_of(place), fmt::format("{}/{} would be lost with the unit", place, names->front())});
  }
  return reasons;
}

Result<uint64_t> measure_places(const UnitState& unit) {
  uint64_t bytes = 0;
  for (const std::string& place : volatile_places(unit)) {
    auto measured = measure_tree(seen_by(unit.main_pid, place));
    if (!measured && measured.error().code == ENOENT) continue;
    bytes += TRY(as_seen(unit.main_pid, std::move(measured)));
  }
  return bytes;
}

Result<std::vector<SavedPlace>> save_places(std::span<const std::string> places, pid_t pid,
                                            const std::string& directory) {
  std::vector<SavedPlace> saved;
  for (const std::string& place : places) {
    std::string from = seen_by(pid, place);
    auto bytes = measure_tree(from);
    if (!bytes && bytes.error().code == ENOENT) continue;  // the unit has removed it
    if (saved.empty()) TRY(make_directory(directory));
    SavedPlace one{.path = place,
                   .name = std::to_string(saved.size()),
                   .digest = "",
                   .bytes = TRY(as_seen(pid, std::move(bytes)))};
    std::string to = directory + "/" + one.name;
    TRY(make_directory(to));
    TRY(as_seen(pid, copy_tree(from, to)));
    one.digest = TRY(digest_tree(to));
    saved.push_back(std::move(one));
  }
  if (!saved.empty()) TRY(sync_file_system(directory));
  return saved;
}

Result<std::vector<std::string>> load_places(std::span<const SavedPlace> places, pid_t pid,
                                             const std::string& directory) {
  for (const SavedPlace& place : places)
    if (TRY(digest_tree(directory + "/" + place.name)) != place.digest)
      return fail(place.path + ": damaged: the checksum of what is to lie there differs");
  std::vector<std::string> kept;
  std::string root = seen_by(pid, "");
  for (const SavedPlace& place : places)
    for (const std::string& path :
         TRY(as_seen(pid, copy_tree(directory + "/" + place.name, seen_by(pid, place.path)))))
      kept.push_back(path.substr(root.size()));
  return kept;
}

}  // namespace ks::upgrade
