// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/unit_files.h"

#include <set>

#include "base/file.h"
#include "upgrade/mark.h"

namespace ks::upgrade {

namespace {

class Search {
 public:
  void look(const std::string& file, const std::string& unit) {
    auto text = read_file(file);  // a dangling link, or a link to /dev/null that masks the unit
    if (!text) return;
    Mark mark;
    auto applied = apply_mark(mark, *text, file);
    if (!applied)
      errors_.insert(applied.error().what);
    else if (mark.checkpoint)
      names_.insert(unit);
  }

  MarkedNames result() const { return {{names_.begin(), names_.end()}, {errors_.begin(), errors_.end()}}; }

 private:
  std::set<std::string> names_, errors_;
};

}  // namespace

std::vector<std::string> unit_directories() {
  return {"/etc/systemd/system.control",  "/run/systemd/system.control",   "/run/systemd/transient",
          "/etc/systemd/system",          "/etc/systemd/system.attached",  "/run/systemd/system",
          "/run/systemd/system.attached", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
          "/lib/systemd/system"};
}

MarkedNames find_marked(const std::vector<std::string>& directories) {
  constexpr std::string_view kDropIns = ".d";
  Search search;
  for (const std::string& directory : directories) {
    auto names = list_directory(directory);
    if (!names) continue;
    for (const std::string& name : *names) {
      std::string path = directory + "/" + name;
      if (name.ends_with(".service")) {
        search.look(path, name);
      } else if (name.ends_with(".service.d")) {
        std::string unit = name.substr(0, name.size() - kDropIns.size());
        for (const std::string& file : list_directory(path).value_or(std::vector<std::string>{}))
          if (file.ends_with(".conf")) search.look(path + "/" + file, unit);
      }
    }
  }
  return search.result();
}

}  // namespace ks::upgrade
