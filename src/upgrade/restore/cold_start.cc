// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/cold_start.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "upgrade/machine.h"
#include "upgrade/restore/placeholder_control.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

namespace {

// With the drop-in gone, the unit is again what its file says: systemd stops the placeholder and starts the
// unit, and all that waits for the job goes on waiting (a restart job replaces the start job in its place).
Result<> run_job_anew(const CarriedUnit& unit, pid_t placeholder) {
  std::string decision = std::string(kRestoring) + "/" + unit.name;
  if (::unlink(decision.c_str()) && errno != ENOENT) return fail_errno(decision);
  Bus bus = TRY(Bus::open());
  TRY(bus.reload());
  // One of which systemd does not know may be none that a stop ends (KillMode=process).
  if (unit.main_pid == 0) TRY(tell_placeholder(placeholder, Word::dismissed));
  TRY(bus.restart(unit.name));
  // systemd ends us as a part of the stop. Ending first would show the unit as started for an instant.
  constexpr timespec kLongEnough{.tv_sec = 20, .tv_nsec = 0};
  ::nanosleep(&kLongEnough, nullptr);
  return {};
}

}  // namespace

bool starts_by_its_command_alone(const CarriedUnit& unit) {
  return unit.main_pid != 0 && !unit.has_more_at_start &&
         std::ranges::none_of(unit.places, &SavedPlace::of_systemd) &&
         (unit.type == "simple" || unit.type == "exec" || unit.type == "idle");
}

Result<> clear_control_group(pid_t placeholder) {
  std::string group = TRY(own_control_group());
  constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 5'000'000};
  for (int polls = 0; polls < 2000; ++polls) {
    bool any = false;
    for (pid_t pid : TRY(cgroup_processes(group))) {
      if (pid == ::getpid() || pid == placeholder || !start_of(pid)) continue;
      any = true;
      ::kill(pid, SIGKILL);
    }
    if (!any) {
      // Those of an engine that was killed; a service that starts afresh would find its own there already.
      remove_groups_below(group);
      return {};
    }
    ::nanosleep(&kPoll, nullptr);
  }
  return fail(group + ": processes do not end");
}

Result<> start_cold(const CarriedUnit* unit, pid_t placeholder) {
  if (unit && !starts_by_its_command_alone(*unit)) {
    auto anew = run_job_anew(*unit, placeholder);
    if (anew) return {};
    // Without its own start commands is still better than not at all.
  }
  return tell_placeholder(placeholder, Word::become);
}

}  // namespace ks::upgrade
