// SPDX-License-Identifier: LGPL-2.1-or-later
#include "plan.h"

#include "actor.h"

Plan::Plan(uint64_t seed) {
  Random random(seed);
  unsigned count = random.between(1, kProcesses);
  for (unsigned i = 0; i < count; ++i) {
    ProcessPlan process{.parent = i ? random.below(i) : 0};
    while (processes.size() > process.parent && i && processes[process.parent].leaves && random.chance(50))
      process.parent = 0;
    process.leaves = i > 0 && random.chance(15);
    process.session = random.chance(15);
    process.group = !process.session && random.chance(20);
    process.filter = random.chance(25);
    process.nice = random.chance(20) ? static_cast<int>(random.between(1, 5)) : 0;
    processes.push_back(process);
  }
  auto somewhere = [&] {
    unsigned process = random.below(count);
    return processes[process].leaves ? 0 : process;
  };
  for (unsigned i = 0; i < count; ++i)
    for (unsigned n = processes[i].leaves ? 0 : random.between(1, 3); n > 0; --n)
      actors.push_back({.kind = &kSoloists[random.below(kSoloistCount)], .process = i, .seed = random.next()});
  pairs = random.between(1, kPairs);
  for (unsigned pair = 0; pair < pairs; ++pair) {
    const ActorKind* kind = &kDuets[random.below(kDuetCount)];
    uint64_t both = random.next();
    for (bool begins : {true, false})
      actors.push_back(
          {.kind = kind, .process = somewhere(), .pair = static_cast<int>(pair), .begins = begins, .seed = both});
  }
}

std::string Plan::text() const {
  std::string text;
  for (unsigned i = 0; i < processes.size(); ++i) {
    const auto& process = processes[i];
    text += "process " + std::to_string(i) + " of " + std::to_string(process.parent);
    if (process.leaves) text += ", leaves";
    if (process.session) text += ", session";
    if (process.group) text += ", group";
    if (process.filter) text += ", filter";
    if (process.nice) text += ", nice";
    text += ":";
    for (const auto& actor : actors)
      if (actor.process == i)
        text += std::string(" ") + actor.kind->name +
                (actor.pair < 0 ? "" : "#" + std::to_string(actor.pair) + (actor.begins ? "a" : "b"));
    text += "\n";
  }
  return text;
}
