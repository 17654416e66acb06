// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/volatile.h"

#include "base/file.h"

namespace ks::upgrade {

namespace {

struct Place {
  std::string setting, path;
};

std::vector<Place> places_of(const UnitState& unit) {
  std::vector<Place> places;
  // "outer/inner" names the inner one; the outer is made only to hold it.
  for (const std::string& name : unit.runtime_directories) places.push_back({"RuntimeDirectory=", "/run/" + name});
  if (unit.private_tmp)
    for (const char* path : {"/tmp", "/var/tmp"}) places.push_back({"PrivateTmp=", path});
  return places;
}

}  // namespace

std::vector<engine::Reason> volatile_reasons(const UnitState& unit, const std::string& root) {
  std::vector<engine::Reason> reasons;
  for (const Place& place : places_of(unit)) {
    auto names = list_directory(root + place.path);
    if (!names && names.error().code == ENOENT) continue;
    if (!names)
      reasons.push_back({0, place.setting, names.error().what});
    else if (!names->empty())
      reasons.push_back({0, place.setting,
                         place.path + "/" + names->front() + " would be lost; what lies there is not carried yet"});
  }
  return reasons;
}

}  // namespace ks::upgrade
