// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/manifest.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

Manifest example() {
  Manifest manifest{.id = "000007", .boot_id = "b1", .kernel = "6.1.0-50-amd64", .created = 1790000000};
  manifest.units.push_back({.name = "a\"b.service",
                            .control_group = "/system.slice/a.service",
                            .main_pid = 131080,
                            .processes = {{131080, 99}, {131081, 18446744073709551}},
                            .ids = {131080, 131081, 131090},
                            .command = {"/usr/bin/a", {"a", "--x=%i", "$Y", "\xc3\xa9\n"}, {"no-env-expand"}},
                            .type = "notify",
                            .notify_access = "main",
                            .syslog_identifier = "a",
                            .start_timeout_seconds = 90,
                            .has_more_at_start = true,
                            .placeholder_not_executable = true,
                            .places = {{"/run/a", "0", "4567", 89, true, false}},
                            .sockets = {"a.socket"},
                            .remarks = {"pid 131080: fd 7: closed"},
                            .image_digest = "0123",
                            .memory_bytes = 1ull << 40,
                            .frozen_seconds = 0.25,
                            .frozen_at = 1790000000123456});
  manifest.left_out.push_back({"c.service", {"pid 4: fd 7: io_uring", "pid 5: gone"}});
  return manifest;
}

TEST(Manifest, RoundTrip) {
  std::string text = to_text(example());
  auto back = parse_manifest(text);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(to_text(*back), text);
  EXPECT_EQ(back->units[0].command.arguments[3], "\xc3\xa9\n");
  EXPECT_EQ(back->units[0].processes[1].start, 18446744073709551u);
  EXPECT_TRUE(back->units[0].places[0].of_systemd && !back->units[0].places[0].whole);
  EXPECT_EQ(back->units[0].remarks, example().units[0].remarks);
  EXPECT_EQ(back->left_out[0].reasons.size(), 2u);
  EXPECT_TRUE(back->find("a\"b.service"));
  EXPECT_FALSE(back->find("c.service"));
}

TEST(Manifest, EveryDamagedByteIsFound) {
  std::string text = to_text(example());
  for (size_t at = 0; at + 1 < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    ASSERT_FALSE(parse_manifest(damaged)) << at;
  }
}

TEST(Manifest, EveryShorterTextIsRefused) {
  std::string text = to_text(example());
  for (size_t length = 0; length + 1 < text.size(); ++length)
    ASSERT_FALSE(parse_manifest(std::string_view(text).substr(0, length))) << length;
}

}  // namespace
}  // namespace ks::upgrade
