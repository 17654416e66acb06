// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"
#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  auto info = engine::parse_fdinfo(input);
  if (!info) require(info.error().what.starts_with("line "), "an error names the line");
  if (info)
    for (const std::string& line : info->rest)
      if (size_t colon = line.find(':'); colon != std::string::npos)
        require(info->value(line.substr(0, colon)).has_value(), "every key has a value");
  auto group = engine::parse_cgroup(input);
  require(!group || group->starts_with('/'), "a group is an absolute path");
}

std::vector<std::string> seeds() {
  return {
      "pos:\t12\nflags:\t02100002\nmnt_id:\t15\nino:\t1055\neventfd-count:                2\n",
      "pos:\t-4096\nflags:\t00\nmnt_id:\t1\nlock:\t1: POSIX  ADVISORY  WRITE 1 08:01:9 0 EOF\n",
      "pos:\t0\nflags:\t02\nmnt_id:\t15\ntfd:        5 events:       19 data:                5 pos:0 ino:4 "
      "sdev:f\n",
      "1:name=systemd:/x\n0::/system.slice/a.service\n",
  };
}

}  // namespace ks::fuzz
