// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/user_namespace.h"

#include <fmt/format.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/envoy.h"
#include "engine/kernel/namespace.h"

namespace ks::engine {

Result<UserMaps> read_maps(pid_t pid) {
  auto file = [pid](const char* name) { return read_file(fmt::format("/proc/{}/{}", pid, name)); };
  return UserMaps{.users = TRY(file("uid_map")), .groups = TRY(file("gid_map")), .setgroups = TRY(file("setgroups"))};
}

Result<Fd> make_user_namespace(const UserMaps& maps, uid_t owner) {
  auto envoy = TRY(Envoy::send([owner]() -> Result<std::string> {
    // Another user as well may not be allowed to: keep our capabilities.
    if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)) return fail_errno("PR_SET_SECUREBITS");
    if (::syscall(SYS_setresuid, -1, owner, -1)) return fail_errno("setresuid");
    if (::unshare(CLONE_NEWUSER)) return fail_errno("unshare");
    return "";
  }));
  auto put = [&](const char* name, const std::string& text) -> Result<> {
    if (text.empty()) return {};
    return write_value(fmt::format("/proc/{}/{}", envoy.pid(), name), text);
  };
  if (maps.setgroups == "deny\n") TRY(put("setgroups", "deny"));
  TRY(put("uid_map", maps.users));
  TRY(put("gid_map", maps.groups));
  return open_namespace(envoy.pid(), "user");
}

Result<Fd> make_namespace(int flag, const char* type, int owner) {
  auto envoy = TRY(Envoy::send([=]() -> Result<std::string> {
    if (owner >= 0 && ::setns(owner, CLONE_NEWUSER)) return fail_errno("setns");
    if (::unshare(flag)) return fail_errno("unshare");
    return "";
  }));
  return open_namespace(envoy.pid(), type);
}

Result<std::string> limit_of_user_namespace(int fd) {
  auto envoy = TRY(Envoy::send([fd]() -> Result<std::string> {
    if (::setns(fd, CLONE_NEWUSER)) return fail_errno("setns");
    for (const auto& name : TRY(list_directory("/proc/sys/user"))) {
      auto text = TRY(read_file("/proc/sys/user/" + name));
      if (trim(text) != std::to_string(INT_MAX)) return fmt::format("{} = {}", name, trim(text));
    }
    return "";
  }));
  return envoy.said();
}

}  // namespace ks::engine
