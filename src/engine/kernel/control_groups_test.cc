// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/control_groups.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

TEST(ControlGroups, MembershipsOfAllHierarchies) {
  auto memberships =
      parse_memberships("4:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/x:y\n0::/system.slice/a b.service\n");
  ASSERT_TRUE(memberships) << memberships.error().what;
  EXPECT_EQ(
      *memberships,
      (std::vector<GroupMembership>{
          {"memory", "/a"}, {"cpu,cpuacct", "/"}, {"name=systemd", "/x:y"}, {"", "/system.slice/a b.service"}}));
  EXPECT_FALSE(parse_memberships("0:/"));
  EXPECT_FALSE(parse_memberships("0::x"));
}

TEST(ControlGroups, AHierarchyIsFoundWhereAllOfItIsMounted) {
  constexpr std::string_view mounts =
      "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
      "32 31 0:29 /part /elsewhere rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
      "33 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:4 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
      "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
  EXPECT_EQ(find_hierarchy(mounts, ""), "/sys/fs/cgroup/unified");
  EXPECT_EQ(find_hierarchy(mounts, "cpu,cpuacct"), "/sys/fs/cgroup/cpu");
  EXPECT_EQ(find_hierarchy(mounts, "name=systemd"), "/sys/fs/cgroup/systemd");
  EXPECT_EQ(find_hierarchy(mounts, "memory"), "");
  EXPECT_EQ(find_hierarchy("garbage - cgroup2", ""), "");
}

TEST(ControlGroups, PathsBelow) {
  EXPECT_EQ(path_below("/", "/"), "");
  EXPECT_EQ(path_below("/", "/a/b"), "a/b");
  EXPECT_EQ(path_below("/a", "/a"), "");
  EXPECT_EQ(path_below("/a", "/a/b/c"), "b/c");
  EXPECT_EQ(path_below("/a", "/ab"), std::nullopt);
  EXPECT_EQ(path_below("/a", "/"), std::nullopt);
}

}  // namespace
}  // namespace ks::engine
