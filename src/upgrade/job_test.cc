// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/job.h"

#include <gtest/gtest.h>

#include <vector>

namespace ks::upgrade {
namespace {

TEST(Job, AnyWayIntoAnotherBoot) {
  std::vector<Job> jobs = {{"redis-server.service", "stop", "waiting"},
                           {"kernel-swap.service", "stop", "running"},
                           {"kexec.target", "start", "waiting"}};
  EXPECT_EQ(booting_target(jobs), "kexec.target");
  jobs[2].unit = "reboot.target";
  EXPECT_EQ(booting_target(jobs), "reboot.target");
}

TEST(Job, NotForARestartOrAPowerOff) {
  EXPECT_FALSE(booting_target({}));
  EXPECT_FALSE(booting_target(std::vector<Job>{{"kernel-swap.service", "restart", "running"}}));
  EXPECT_FALSE(booting_target(std::vector<Job>{{"poweroff.target", "start", "waiting"}}));
  EXPECT_FALSE(booting_target(std::vector<Job>{{"reboot.target", "stop", "waiting"}}));
}

}  // namespace
}  // namespace ks::upgrade
