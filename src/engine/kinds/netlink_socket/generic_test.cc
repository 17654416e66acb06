// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/netlink_socket/generic.h"

#include <gtest/gtest.h>

namespace ks::engine::netlink_socket {
namespace {

const GenericNumbers kOld = {.families = {{"nlctrl", 16}, {"thermal", 19}, {"wireguard", 30}},
                             .groups = {{"nlctrl/notify", 16}, {"thermal/event", 3}, {"wireguard/peers", 9}}};

image::NetlinkSocket socket_in(std::initializer_list<uint32_t> groups, const GenericNumbers& numbers = kOld) {
  image::NetlinkSocket socket;
  for (uint32_t group : groups) socket.add_groups(group);
  auto described = describe_generic(numbers, socket);
  EXPECT_TRUE(described) << described.error().what;
  return socket;
}

TEST(GenericSocket, HasItsGroupsByName) {
  auto socket = socket_in({3, 16});
  EXPECT_EQ(socket.groups_size(), 0);
  ASSERT_EQ(socket.group_names_size(), 2);
  EXPECT_EQ(socket.group_names(0), "thermal/event");
  GenericNumbers other = kOld;
  other.groups["thermal/event"] = 12;
  EXPECT_EQ(*groups_under(other, socket), (std::vector<uint32_t>{12, 16}));
}

TEST(GenericSocket, IsRefusedWhereSomethingIsNotKnown) {
  image::NetlinkSocket socket;
  EXPECT_TRUE(describe_generic({.families = {{"nl80211", 30}}, .groups = {}}, socket).error().refusal);
  EXPECT_TRUE(describe_generic({.families = {{"from the future", 30}}, .groups = {}}, socket).error().refusal);
  socket.add_groups(7);
  EXPECT_TRUE(describe_generic(kOld, socket).error().refusal) << "nobody's group";
  GenericNumbers devices{.families = {{"devlink", 30}}, .groups = {{"devlink/config", 7}}};
  EXPECT_TRUE(describe_generic(devices, socket).error().refusal);
}

TEST(GenericSocket, NoNumberMayMeanSomethingElse) {
  auto socket = socket_in({3});
  GenericNumbers more = kOld;
  more.families["new"] = 31;
  EXPECT_TRUE(groups_under(more, socket));
  GenericNumbers moved = kOld;
  moved.families["wireguard"] = 31;
  EXPECT_TRUE(groups_under(moved, socket)) << "as if it had been loaded again";
  moved.families["new"] = 30;
  EXPECT_FALSE(groups_under(moved, socket));
  GenericNumbers groups = kOld;
  groups.groups.erase("wireguard/peers");
  EXPECT_TRUE(groups_under(groups, socket));
  groups.groups["new/group"] = 9;
  EXPECT_FALSE(groups_under(groups, socket));
}

TEST(GenericSocket, WhatItListensToMustBeThere) {
  auto socket = socket_in({3});
  GenericNumbers without = kOld;
  without.families.erase("thermal");
  without.groups.erase("thermal/event");
  EXPECT_FALSE(groups_under(without, socket));
  GenericNumbers renumbered = kOld;
  renumbered.families["thermal"] = 33;
  EXPECT_FALSE(groups_under(renumbered, socket)) << "its messages would not be recognised";
}

}  // namespace
}  // namespace ks::engine::netlink_socket
