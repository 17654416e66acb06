// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/headroom.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ranges>

#include "base/file.h"
#include "base/helper.h"
#include "base/raise_limit.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

// An idle group has no weight: first it must be none.
constexpr std::string_view kLimits[] = {"cpu.idle",   "cpu.weight",  "cpu.max", "io.max",
                                        "memory.max", "memory.high", "pids.max"};
constexpr uint64_t kUsualWeight = 100;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::string_view line : split(text, '\n'))
    if (!trim(line).empty()) lines.emplace_back(trim(line));
  return lines;
}

}  // namespace

std::vector<std::string> lifting(std::string_view file, std::string_view text) {
  std::vector<std::string> wanted;
  for (const std::string& line : lines_of(text)) {
    auto words = split_words(line);
    if (file == "io.max") {  // "8:16 rbps=2097152 wbps=max riops=max wiops=120"
      std::string all(words[0]);
      for (std::string_view word : words | std::views::drop(1))
        all += " " + std::string(take_until(word, '=')) + "=max";
      wanted.push_back(all);
    } else if (file == "cpu.idle") {
      if (words[0] != "0") wanted.emplace_back("0");
    } else if (file == "cpu.weight") {
      if (parse_number<uint64_t>(words[0]).value_or(kUsualWeight) < kUsualWeight)
        wanted.push_back(std::to_string(kUsualWeight));
    } else if (words[0] != "max") {  // "max", or a number; of cpu.max with a period behind it
      wanted.emplace_back("max");
    }
  }
  return wanted;
}

ControlGroupHeadroom::ControlGroupHeadroom(const std::string& directory) {
  for (std::string_view file : kLimits) {
    std::string path = directory + "/" + std::string(file);
    auto before = read_file(path);  // absent where its controller is off
    if (!before) continue;
    bool any = false;
    for (const std::string& text : lifting(file, *before)) any |= write_value(path, text).has_value();
    if (any) lifted_.push_back({path, lines_of(*before)});
  }
}

ControlGroupHeadroom::~ControlGroupHeadroom() {
  for (const Lifted& limit : lifted_ | std::views::reverse)
    for (const std::string& text : limit.before) (void)write_value(limit.path, text);
}

void take_own_headroom() {
  for (auto which : {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU})
    raise_limit(which, RLIM_INFINITY);
  sched_param plain{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &plain);
  (void)::setpriority(PRIO_PROCESS, 0, 0);
  constexpr int kOfProcess = 1, kNone = 0;  // ioprio_set(2): linux/ioprio.h is not for C++
  (void)::syscall(SYS_ioprio_set, kOfProcess, 0, kNone);
  use_every_cpu();
}

}  // namespace ks::upgrade
