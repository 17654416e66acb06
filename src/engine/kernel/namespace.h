// SPDX-License-Identifier: LGPL-2.1-or-later
// Namespaces (namespaces(7)): which a task is in, and what is to be seen from inside one.
#pragma once

#include <linux/sched.h>
#include <sys/types.h>

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

struct NamespaceType {
  const char* name;  // below /proc/PID/ns
  int flag;          // CLONE_NEW...
};
inline constexpr std::array kNamespaceTypes = {
    NamespaceType{"user", CLONE_NEWUSER},    NamespaceType{"pid", CLONE_NEWPID}, NamespaceType{"mnt", CLONE_NEWNS},
    NamespaceType{"uts", CLONE_NEWUTS},      NamespaceType{"ipc", CLONE_NEWIPC}, NamespaceType{"net", CLONE_NEWNET},
    NamespaceType{"cgroup", CLONE_NEWCGROUP}};

// "uts:[4026531838]", the name of one for as long as it exists.
Result<std::string> namespace_of(pid_t pid, std::string_view name);
Result<Fd> open_namespace(pid_t pid, std::string_view name);
// That of a descriptor, in the same form.
Result<std::string> namespace_name(int fd, std::string_view type);
// The user namespace that a namespace belongs to, or above a user namespace.
Result<Fd> owning_user_namespace(int fd);
// The user who has made a user namespace.
Result<uid_t> owner_of_user_namespace(int fd);

// Done by a thread that has entered the namespace, or by one in a new namespace where `fd` is -1. Not for user and
// PID namespaces.
Result<> inside(int fd, int flag, const std::function<Result<>()>& work);

// What sethostname(2) and setdomainname(2) have set.
struct HostNames {
  std::string host, domain;
  bool operator==(const HostNames&) const = default;
};
Result<HostNames> host_names(int fd);
Result<> set_host_names(int fd, const HostNames& names);

}  // namespace ks::engine
