// SPDX-License-Identifier: LGPL-2.1-or-later
// `kernel-swap now`: a list of steps. Each that has been run is undone, the last first, when a later one
// fails.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "upgrade/candidate.h"
#include "upgrade/kernels.h"
#include "upgrade/next_kernel.h"
#include "upgrade/swap_store.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

struct UnitVerdict {
  std::string unit;
  bool running = false;
  engine::Verdict verdict;
};

struct Upgrade {
  // As asked for.
  std::string version, image, initrd, append;
  bool skip_unready = false;
  // As found out.
  KernelImage kernel;
  std::optional<KernelFile> file;  // of the kernel
  std::string command_line;
  std::optional<Bus> bus;
  SwapStore store;
  std::vector<UnitVerdict> verdicts;
  std::vector<std::string> notes;  // for the caller to print
};

struct Step {
  std::string_view name;
  Result<> (*run)(Upgrade&);
  Result<> (*undo)(Upgrade&) = nullptr;
};

// While everything runs; touches nothing.
std::span<const Step> checks();
// From loading the kernel to the point of no return.
std::span<const Step> acts();

// The error names the step; what could not be undone is said too.
Result<> run_steps(std::span<const Step> steps, Upgrade& upgrade);

}  // namespace ks::upgrade
