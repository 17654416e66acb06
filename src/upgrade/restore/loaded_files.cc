// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/loaded_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

namespace {

// A word and the paths below it for each place, an empty one after the last; each ends with a zero.
constexpr std::string_view kThere = "there", kMissing = "missing";

std::string to_text(const std::vector<FoundThere>& found) {
  std::string text;
  auto add = [&](std::string_view word) { (text += word) += '\0'; };
  for (const FoundThere& one : found) {
    add(one.place ? kThere : kMissing);
    for (const std::string& path : one.paths) add(path);
    add("");
  }
  return text;
}

std::vector<FoundThere> parse_found(std::string_view text) {
  std::vector<FoundThere> found;
  while (!text.empty()) {
    FoundThere& one = found.emplace_back(FoundThere{.place = take_until(text, '\0') == kThere, .paths = {}});
    for (std::string_view path; !(path = take_until(text, '\0')).empty();) one.paths.emplace(path);
  }
  return found;
}

}  // namespace

Result<> begin_to_load(const Swap& swap, const CarriedUnit& unit, pid_t placeholder, const std::string& records) {
  if (unit.places.empty()) return {};
  auto found = TRY(find_there(unit.places, placeholder, swap.places(unit.name)));
  if (::mkdir(records.c_str(), 0700) && errno != EEXIST) return fail_errno(records);
  return replace_file(records + "/" + unit.name, to_text(found), 0600);
}

Result<LoadedFiles> load_files(const Swap& swap, const CarriedUnit& unit, pid_t placeholder) {
  LoadedFiles loaded;
  loaded.kept = TRY(load_places(unit.places, placeholder, swap.places(unit.name), loaded.failed));
  return loaded;
}

void keep_loaded(const CarriedUnit& unit, const std::string& records) {
  ::unlink((records + "/" + unit.name).c_str());
  ::rmdir(records.c_str());  // the last one
}

Result<> take_back_loaded(const Swap& swap, const CarriedUnit& unit, pid_t placeholder, const std::string& records) {
  auto text = read_file(records + "/" + unit.name);
  if (!text && text.error().code == ENOENT) return {};
  if (!text) return std::unexpected(text.error());
  auto taken = unload_places(unit.places, placeholder, swap.places(unit.name), parse_found(*text));
  keep_loaded(unit, records);
  return taken;
}

}  // namespace ks::upgrade
