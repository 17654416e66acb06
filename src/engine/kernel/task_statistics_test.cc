// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/task_statistics.h"

#include <gtest/gtest.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/taskstats.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"
#include "engine/kernel/generic_netlink.h"

namespace ks::engine {
namespace {

// "Tell me of tasks that end on the first CPU." 0, or why not.
int listen_to_ends(const Fd& fd, uint32_t family) {
  struct {
    nlmsghdr header;
    genlmsghdr generic{.cmd = TASKSTATS_CMD_GET, .version = 1, .reserved = 0};
    nlattr attribute{.nla_len = NLA_HDRLEN + 2, .nla_type = TASKSTATS_CMD_ATTR_REGISTER_CPUMASK};
    char cpus[NLA_ALIGNTO] = "0";
  } request;
  request.header = {.nlmsg_len = sizeof request,
                    .nlmsg_type = static_cast<uint16_t>(family),
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                    .nlmsg_seq = 1,
                    .nlmsg_pid = 0};
  struct {
    nlmsghdr header;
    nlmsgerr told;
  } answer{};
  EXPECT_EQ(::send(fd.get(), &request, sizeof request, 0), ssize_t{sizeof request});
  EXPECT_GE(::recv(fd.get(), &answer, sizeof answer, 0), ssize_t{sizeof answer});
  return -answer.told.error;
}

void end_a_task_on_the_first_cpu() {
  pid_t child = ::fork();
  if (child == 0) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    ::sched_setaffinity(0, sizeof first, &first);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
}

TEST(TaskStatistics, TellOfListeners) {
  auto numbers = generic_numbers();
  auto before = has_listeners_to_task_ends();
  if (!before) GTEST_SKIP() << before.error().what;
  if (!numbers || !numbers->families.contains(TASKSTATS_GENL_NAME)) GTEST_SKIP() << "no TASKSTATS";
  if (*before) GTEST_SKIP() << "somebody listens";
  {
    Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
    if (int error = listen_to_ends(fd, numbers->families.at(TASKSTATS_GENL_NAME)))
      GTEST_SKIP() << "nobody can listen: " << strerrorname_np(error);
    EXPECT_TRUE(*has_listeners_to_task_ends());
  }
  // The kernel notices when it has something to tell.
  bool still = true;
  for (int i = 0; i < 100 && still; ++i) {
    end_a_task_on_the_first_cpu();
    still = *has_listeners_to_task_ends();
  }
  EXPECT_FALSE(still);
}

}  // namespace
}  // namespace ks::engine
