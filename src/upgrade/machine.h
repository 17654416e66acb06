// SPDX-License-Identifier: LGPL-2.1-or-later
// Facts of this machine and this boot.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "upgrade/manifest.h"

namespace ks::upgrade {

inline constexpr char kRunDirectory[] = "/run/kernel-swap";
inline constexpr char kPidFloorFlag[] = "/run/kernel-swap/pid-floor";  // written once a boot, by the generator
// A file for each unit whose restore this boot has begun with. As long as it is there, reloads of the service
// manager leave our drop-in in place, whatever has become of the image.
inline constexpr char kRestoring[] = "/run/kernel-swap/restoring";
inline constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

std::string kernel_release();
std::string boot_id();
int64_t realtime_microseconds();

// Processes of a control group and of those below it, in no order.
Result<std::vector<pid_t>> cgroup_processes(const std::string& control_group);
// One of them whose parent is elsewhere: it has begun in the unit's sandbox. 0: there is none.
pid_t topmost_process(const std::string& control_group);
// Our unit's, of which we are a process.
Result<std::string> own_control_group();
// As far as they are empty.
void remove_groups_below(const std::string& control_group);

// Its start in clock ticks since boot; an error where it is gone. Zombies are gone.
Result<uint64_t> start_of(pid_t pid);
bool is_alive(const ProcessId& process);
// PIDs and TIDs of the process, its session and its group.
std::vector<pid_t> ids_of(pid_t pid);
// Memory that only the process has, in bytes: what an image of it would hold at most.
uint64_t own_memory(pid_t pid);

}  // namespace ks::upgrade
