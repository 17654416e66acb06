// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory with all that is in it, copied as it is: names of any bytes, owners, modes, times, extended
// attributes (ACLs and capabilities are such), symbolic and hard links, holes, fifos, sockets, devices.
//
// Others may change the directory meanwhile, so everything is opened by descriptor and no symbolic link is
// ever followed. What is mounted below the directory belongs to whoever mounts it, and is left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

// Bytes that a copy takes on disk. An error names what cannot be copied.
Result<uint64_t> measure_tree(const std::string& directory);

// Of everything that copy_tree copies; the same for a copy on another file system.
Result<std::string> digest_tree(const std::string& directory);

// Into a directory that exists, which gets the attributes of the other one. Returns the paths, below `to`, of
// what was there already: it stays as it is.
Result<std::vector<std::string>> copy_tree(const std::string& from, const std::string& to);

}  // namespace ks::upgrade
