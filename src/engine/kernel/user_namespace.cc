// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/user_namespace.h"

#include <fmt/format.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/envoy.h"
#include "engine/kernel/namespace.h"

namespace ks::engine {

namespace {

// A change of credentials makes a process forget it.
void end_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

// Who makes a namespace below it needs a group that exists there; which one, nobody can see later.
Result<> go_into(int fd) {
  if (::setns(fd, CLONE_NEWUSER)) return fail_errno("setns");
  std::string map = TRY(read_file("/proc/self/gid_map"));
  auto words = split_words(map);
  auto group = words.empty() ? std::nullopt : parse_number<gid_t>(words.front());
  if (group && ::syscall(SYS_setresgid, -1, *group, -1)) return fail_errno("setresgid");
  return {};
}

Result<> write_maps(pid_t pid, const UserMaps& maps) {
  auto put = [&](const char* name, const std::string& text) -> Result<> {
    if (text.empty()) return {};
    return write_value(fmt::format("/proc/{}/{}", pid, name), text);
  };
  if (maps.setgroups == "deny\n") TRY(put("setgroups", "deny"));
  TRY(put("uid_map", maps.users));
  return put("gid_map", maps.groups);
}

}  // namespace

// To one who is inside, the kernel shows the numbers of the namespace above.
Result<UserMaps> read_maps(int fd) {
  UserMaps maps;
  const std::pair<const char*, std::string*> files[] = {
      {"uid_map", &maps.users}, {"gid_map", &maps.groups}, {"setgroups", &maps.setgroups}};
  for (auto [name, text] : files) {
    auto envoy = TRY(Envoy::send([fd, name]() -> Result<std::string> {
      if (::setns(fd, CLONE_NEWUSER)) return fail_errno("setns");
      return read_file(fmt::format("/proc/self/{}", name));
    }));
    *text = envoy.said();
  }
  return maps;
}

Result<Fd> make_user_namespace(const UserMaps& maps, uid_t owner, int above) {
  // Numbers in maps are those of the namespace above, and only somebody in there may write them.
  std::optional<Envoy> inside;
  auto envoy = TRY(Envoy::send([&]() -> Result<std::string> {
    // Another user as well may not be allowed to: keep our capabilities.
    if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)) return fail_errno("PR_SET_SECUREBITS");
    if (::syscall(SYS_setresuid, -1, owner, -1)) return fail_errno("setresuid");
    if (above >= 0) TRY(go_into(above));
    end_with_parent();
    inside.emplace(TRY(Envoy::send([]() -> Result<std::string> {
      if (::unshare(CLONE_NEWUSER)) return fail_errno("unshare");
      end_with_parent();
      ::prctl(PR_SET_DUMPABLE, 1);  // or its files in /proc were not its user's
      return "";
    })));
    TRY(write_maps(inside->pid(), maps));
    return std::to_string(inside->pid());
  }));
  auto pid = parse_number<pid_t>(envoy.said());
  if (!pid) return fail("a child has no PID");
  return open_namespace(*pid, "user");
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
