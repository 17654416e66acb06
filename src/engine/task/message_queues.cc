// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/message_queues.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "engine/context/namespace_state.h"
#include "engine/kernel/namespace.h"

namespace ks::engine {

namespace {

constexpr int64_t kTolerance = 2;  // of clocks that count whole seconds

Result<> check_own(Dumping& dumping, uint32_t name_space, pid_t member) {
  for (auto queues = TRY(list_message_queues()); const NamedQueue& queue : queues)
    if (!dumping.open_queues.contains({name_space, queue.name}))
      dumping.refuse(member, fmt::format("message queue /{}", queue.name),
                     "no process of it has open, which is not supported yet");
  return {};
}

// Nobody tells who has made a queue. One of a user's is refused if processes of that user are to go.
Result<> check_common(Dumping& dumping) {
  int64_t boot = TRY(boot_time());
  for (auto queues = TRY(list_message_queues()); const NamedQueue& queue : queues) {
    if (dumping.open_queues.contains({0, queue.name})) continue;
    auto suspect = std::ranges::find_if(dumping.processes, [&](const StoppedProcess& process) {
      return !process.zombie && dumping.system_v.name_space.at(process.pid) == 0 &&
             process.status.uids[1] == queue.uid && start_of(process.stat, boot) <= queue.used + kTolerance;
    });
    if (suspect != dumping.processes.end())
      dumping.refuse(
          suspect->pid, fmt::format("message queue /{}", queue.name),
          fmt::format("may be its own, being of user {}, and no process of it has open; if it is not needed, "
                      "remove it (mq_unlink(3))",
                      queue.uid));
  }
  return {};
}

}  // namespace

Result<> check_message_queues(Dumping& dumping) {
  std::map<uint32_t, pid_t> members;
  for (const auto& [pid, name_space] : dumping.system_v.name_space) members.emplace(name_space, pid);
  for (const auto& [name_space, member] : members)
    if (name_space == 0)
      TRY(check_common(dumping));
    else
      TRY(inside(TRY(open_namespace(member, "ipc")).get(), CLONE_NEWIPC,
                 [&, id = name_space, pid = member] { return check_own(dumping, id, pid); }));
  return {};
}

}  // namespace ks::engine
