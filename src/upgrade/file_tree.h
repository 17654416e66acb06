// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory with all that is in it, copied as it is: names of any bytes, owners, modes, times, extended
// attributes (ACLs and capabilities are such), symbolic and hard links, holes, fifos, sockets, devices.
//
// Others may change the directory meanwhile, so everything is opened by descriptor and no symbolic link is
// ever followed. What is mounted below the directory belongs to whoever mounts it, and is left out.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

// Which of what lies in a directory, by paths below it.
struct Part {
  bool only = false;  // `paths`, with all that is below them; without this, all but `paths`
  std::set<std::string> paths;
  bool takes(std::string_view path) const;
};

// Bytes that a copy takes on disk. An error names what cannot be copied.
Result<uint64_t> measure_tree(const std::string& directory, const Part& part = {});

// Of everything that copy_tree copies; the same for a copy on another file system.
Result<std::string> digest_tree(const std::string& directory);

// Into a directory that exists, which gets the attributes of the other one, if it is to be `dressed`. Returns the
// paths, below `to`, of what was there already: it stays as it is.
Result<std::vector<std::string>> copy_tree(const std::string& from, const std::string& to, const Part& part = {},
                                           bool dressed = true);

// What a copy into `to` would find there: paths below it.
Result<std::set<std::string>> in_the_way(const std::string& from, const std::string& to);
// Takes such a copy back, but for what it had found there, and directories in which there is something else by now.
Result<> remove_copy(const std::string& from, const std::string& to, const std::set<std::string>& found);

}  // namespace ks::upgrade
