// SPDX-License-Identifier: LGPL-2.1-or-later
// User namespaces (user_namespaces(7)), and namespaces that belong to them: only a process that has no other thread
// can enter or make one, so these functions fork.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

struct UserMaps {
  std::string users, groups, setgroups;  // /proc/PID/uid_map, gid_map, setgroups
  bool operator==(const UserMaps&) const = default;
};
// Of a user namespace, as they are seen from the one above it.
Result<UserMaps> read_maps(int fd);

// A new one, made by the user `owner`, directly below the user namespace `above`, or below ours where that is -1.
Result<Fd> make_user_namespace(const UserMaps& maps, uid_t owner, int above);
// A new one of another type that belongs to the user namespace `owner`, or to ours where that is -1.
Result<Fd> make_namespace(int flag, const char* type, int owner);

// The first of its limits (/proc/sys/user) that a new one would not have; empty: none.
Result<std::string> limit_of_user_namespace(int fd);

}  // namespace ks::engine
