// SPDX-License-Identifier: LGPL-2.1-or-later
// Each program of tests has a network and IPC objects of its own, so that several can run at a time: whose an object
// of System V is, the engine judges by who else is there, and programs watch what comes over the loopback.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/fd.h"

namespace ks::test {
namespace {

bool set_up_loopback() {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return socket && ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

class Apart : public testing::Environment {
 public:
  // Without the rights the tests themselves say why they are skipped.
  void SetUp() override {
    if (::geteuid() != 0) return;
    ASSERT_EQ(::unshare(CLONE_NEWIPC | CLONE_NEWNET), 0) << std::strerror(errno);
    ASSERT_TRUE(set_up_loopback()) << std::strerror(errno);
  }
};

const auto* const kApart = testing::AddGlobalTestEnvironment(new Apart);

}  // namespace
}  // namespace ks::test
