// SPDX-License-Identifier: LGPL-2.1-or-later
// Unit files on disk, searched for marks: the generator has no manager to ask, and a marked unit need not be
// loaded.
#pragma once

#include <string>
#include <vector>

namespace ks::upgrade {

// Where systemd looks for system units (systemd.unit(5)), without what generators make.
std::vector<std::string> unit_directories();

struct MarkedNames {
  // Services and templates ("a@.service") that some file marks; prefixes ("a-.service") as drop-in
  // directories have them. A superset: whether a file counts, only systemd's own order of the files tells.
  std::vector<std::string> names;
  std::vector<std::string> errors;  // one line each, naming file and line
};

MarkedNames find_marked(const std::vector<std::string>& directories);

}  // namespace ks::upgrade
