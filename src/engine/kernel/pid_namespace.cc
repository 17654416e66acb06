// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/pid_namespace.h"

#include <fmt/format.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/envoy.h"

namespace ks::engine {

namespace {

// By a child of one that has entered: only that is inside.
Result<std::string> inside_pid_namespace(int fd, const std::function<Result<std::string>()>& work) {
  auto outer = TRY(Envoy::send([&]() -> Result<std::string> {
    if (fd < 0 && ::unshare(CLONE_NEWPID)) return fail_errno("unshare");
    if (fd >= 0 && ::setns(fd, CLONE_NEWPID)) return fail_errno("setns");
    return TRY(Envoy::send(work)).said();
  }));
  return outer.said();
}

}  // namespace

Result<Fd> parent_pid_namespace(int fd) {
  Fd parent(::ioctl(fd, NS_GET_PARENT));
  if (!parent) return fail_errno("NS_GET_PARENT");
  return parent;
}

Result<PidCounters> read_pid_counters(int fd) {
  auto said = TRY(inside_pid_namespace(fd, []() -> Result<std::string> {
    return fmt::format("{} {}", ::getpid(), trim(TRY(read_file("/proc/sys/kernel/pid_max"))));
  }));
  auto words = split_words(said);
  auto last = words.size() == 2 ? parse_number<pid_t>(words[0]) : std::nullopt;
  auto limit = last ? parse_number<pid_t>(words[1]) : std::nullopt;
  if (!limit) return fail("pid_max: not a number");
  return PidCounters{.last = *last, .limit = *limit};
}

Result<> set_last_pid(int fd, pid_t last) {
  TRY(inside_pid_namespace(fd, [last]() -> Result<std::string> {
    TRY(write_value("/proc/sys/kernel/ns_last_pid", std::to_string(last)));
    return "";
  }));
  return {};
}

}  // namespace ks::engine
