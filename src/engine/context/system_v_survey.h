// SPDX-License-Identifier: LGPL-2.1-or-later
// What a dump has found of System V IPC in the namespaces in which its processes live.
#pragma once

#include <sys/types.h>

#include <map>
#include <utility>
#include <vector>

#include "engine/context/system_v_memory.h"

namespace ks::engine {

struct SurveyedSet {
  SystemVObject object;
  bool carried = false;  // or nothing of the target's
};

struct SystemVSurvey {
  struct Segment {
    SystemVObject object;
    uint64_t attached = 0;  // by processes of the target
  };
  std::map<pid_t, uint32_t> name_space;  // of IPC, 0: the system's
  std::map<std::pair<uint32_t, int>, Segment> segments;
  std::map<uint32_t, std::vector<SurveyedSet>> sets;  // of semaphores, by namespace
  std::vector<AttachedSegment> attached;              // which nobody else has, until they have been written
};

}  // namespace ks::engine
