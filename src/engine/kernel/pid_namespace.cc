// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/pid_namespace.h"

#include <fmt/format.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/envoy.h"
#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

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

Result<bool> is_new_for_children(pid_t pid) {
  using namespace bpf;
  constexpr int64_t kAt = -static_cast<int64_t>(sizeof(uint64_t));
  auto types = TRY(KernelTypes::read());
  auto code = begin(kContextTask);
  for (auto [structure, member] : {std::pair("task_struct", "nsproxy"), {"nsproxy", "pid_ns_for_children"}})
    append(code, follow(kAt, TRY(types.offset(structure, member))));
  append(code, read(kAt, sizeof(uint64_t), BPF_REG_7, TRY(types.offset("pid_namespace", "child_reaper"))));
  finish(code, kAt, sizeof(uint64_t));
  auto first = records<uint64_t>(TRY(TRY(Iterator::load(types, "task", code)).run(pid)));
  if (first.size() != 1) return fail("the kernel does not tell of it");
  return first[0] == 0;
}

}  // namespace ks::engine
