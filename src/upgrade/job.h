// SPDX-License-Identifier: LGPL-2.1-or-later
// Which of the manager's jobs means that the machine is about to boot again.
#pragma once

#include <optional>
#include <span>
#include <string>

namespace ks::upgrade {

struct Job {
  std::string unit;
  std::string type;   // "start", "stop", ...
  std::string state;  // "waiting", "running"
};

// The target that carries the marked services over: kexec.target, or reboot.target, whose images the next
// boot restores just the same. Nothing on halt, power-off or a mere restart of kernel-swap.service. Decided
// by the job and not by /sys/kernel/kexec_loaded: systemd before 254 really resets on reboot.target, loaded
// kernel or not.
std::optional<std::string> booting_target(std::span<const Job> jobs);

}  // namespace ks::upgrade
