// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/namespace.h"

#include <fmt/format.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <thread>

#include "base/file.h"

namespace ks::engine {

Result<std::string> namespace_of(pid_t pid, std::string_view name) {
  return read_link(fmt::format("/proc/{}/ns/{}", pid, name));
}

Result<Fd> open_namespace(pid_t pid, std::string_view name) {
  return open_file(fmt::format("/proc/{}/ns/{}", pid, name), O_RDONLY);
}

Result<std::string> namespace_name(int fd, std::string_view type) {
  struct stat facts{};
  if (::fstat(fd, &facts)) return fail_errno("namespace");
  return fmt::format("{}:[{}]", type, facts.st_ino);
}

Result<Fd> owning_user_namespace(int fd) {
  Fd owner(::ioctl(fd, NS_GET_USERNS));
  if (!owner) return fail_errno("NS_GET_USERNS");
  return owner;
}

Result<uid_t> owner_of_user_namespace(int fd) {
  uid_t uid = 0;
  if (::ioctl(fd, NS_GET_OWNER_UID, &uid)) return fail_errno("NS_GET_OWNER_UID");
  return uid;
}

Result<> inside(int fd, int flag, const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    // A thread that shares its directories with others may not change its mount namespace.
    if (flag == CLONE_NEWNS && ::unshare(CLONE_FS)) done = fail_errno("unshare");
    if (!done) return;
    if (::setns(fd, flag))
      done = fail_errno("setns");
    else
      done = work();
  }).join();
  return done;
}

Result<HostNames> host_names(int fd) {
  HostNames names;
  TRY(inside(fd, CLONE_NEWUTS, [&]() -> Result<> {
    utsname all;
    if (::uname(&all)) return fail_errno("uname");
    names = {.host = all.nodename, .domain = all.domainname};
    return {};
  }));
  return names;
}

Result<> set_host_names(int fd, const HostNames& names) {
  return inside(fd, CLONE_NEWUTS, [&]() -> Result<> {
    if (::sethostname(names.host.data(), names.host.size())) return fail_errno("sethostname");
    if (::setdomainname(names.domain.data(), names.domain.size())) return fail_errno("setdomainname");
    return {};
  });
}

}  // namespace ks::engine
