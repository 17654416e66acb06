// SPDX-License-Identifier: LGPL-2.1-or-later
// As whom a process acts, as it can tell itself: IDs, groups, capabilities, and the maps of its user namespace.
#pragma once

#include <sys/prctl.h>

#include <string>

#include "program.h"

inline std::string identity() {
  std::string text;
  for (const char* file : {"uid_map", "gid_map", "setgroups"})
    text += " " + content(std::string("/proc/self/") + file);
  uid_t uids[3];
  gid_t gids[3], groups[64];
  CHECK(getresuid(&uids[0], &uids[1], &uids[2]) == 0 && getresgid(&gids[0], &gids[1], &gids[2]) == 0);
  for (int i = 0; i < 3; ++i) text += " " + std::to_string(uids[i]) + ":" + std::to_string(gids[i]);
  int count = getgroups(64, groups);
  for (int i = 0; i < count; ++i) text += " " + std::to_string(groups[i]);
  std::string status = content("/proc/self/status");
  text += status.substr(status.find("CapInh"), status.find("NoNewPrivs") - status.find("CapInh"));
  return text + " " + std::to_string(prctl(PR_GET_DUMPABLE)) + std::to_string(prctl(PR_GET_SECUREBITS));
}
