// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/generator/generate.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/drop_in.h"
#include "upgrade/pid_base.h"
#include "upgrade/swap_store.h"
#include "upgrade/unit_files.h"

namespace ks::upgrade {

namespace {

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Lives for one run; a plain write, since nobody reads the directory before we are done.
Result<> write_new(const std::string& path, std::string_view text) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return fail(path + ": " + error.message(), error.value());
  Fd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  return write_all(file.get(), text, path);
}

Result<> write_drop_in(const Places& places, const std::string& unit, std::string_view name, std::string_view text) {
  return write_new(fmt::format("{}/{}.d/{}", places.out, unit, name), text);
}

std::vector<pid_t> dumped_ids(const SwapStore& store, const std::string& boot_id) {
  std::vector<pid_t> ids;
  auto swap = store.open_swap(boot_id);
  if (!swap) return ids;
  auto manifest = swap->manifest();
  if (!manifest) return ids;
  for (const CarriedUnit& unit : manifest->units) ids.insert(ids.end(), unit.ids.begin(), unit.ids.end());
  return ids;
}

Result<> raise_pid_floor(const Places& places, const SwapStore& store) {
  std::string flag = places.run + "/pid-floor";
  if (exists(flag)) return {};  // a daemon-reload: this boot counts from its base already
  pid_t base = pid_base(dumped_ids(store, places.boot_id));
  if (base == 0) return fail("no window of PIDs is free; restored processes may meet others");
  TRY(write_value(places.proc_sys + "/kernel/pid_max", std::to_string(kPidMax)));
  TRY(write_value(places.proc_sys + "/kernel/ns_last_pid", std::to_string(base - 1)));
  return write_new(flag, fmt::format("{}\n", base));
}

// Of two drop-ins of the same name systemd reads only the one in /etc: not to be that of `kernel-swap enable`.
constexpr std::string_view kOrderDropIn = "50-kernel-swap-order.conf";

// kernel-swap.service stops, and so dumps, before the units that it is ordered after.
Result<> order_marked(const Places& places, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    TRY(write_drop_in(places, name, kOrderDropIn, "[Unit]\nBefore=kernel-swap.service\n"));
  return {};
}

bool restore_is_off(const std::string& kernel_command_line) {
  auto words = split_words(kernel_command_line);
  return std::ranges::count(words, "kernel_swap.restore=no") > 0;
}

// Decided once a boot, before any unit starts. A reload in the middle of a restore must not take the unit's
// drop-in away, although the image is no longer pending when its processes are about to run.
Result<> decide_once(const Places& places, const Swap& swap, const Manifest& manifest) {
  std::string restoring = places.run + "/restoring";
  if (exists(restoring)) return {};
  for (const CarriedUnit& unit : manifest.units) {
    auto attempts = swap.pending(unit.name);
    if (attempts && *attempts < kAttempts) TRY(write_new(restoring + "/" + unit.name, ""));
  }
  return {};
}

// network-pre.target is waited for by whatever brings the network up, but only where somebody wants it
// (systemd.special(7)).
Result<> start_hold(const Places& places) {
  TRY(write_drop_in(places, "kernel-swap-hold.service", "50-swap.conf",
                    fmt::format("[Unit]\nWants=network-pre.target\nBefore=network-pre.target\nRequiresMountsFor={}\n",
                                places.store)));
  return write_drop_in(places, "sysinit.target", "50-kernel-swap-hold.conf",
                       "[Unit]\nWants=kernel-swap-hold.service\n");
}

Result<> restore_pending(const Places& places, const Swap& swap, std::vector<std::string>& complaints) {
  Manifest manifest = TRY(swap.manifest());
  TRY(decide_once(places, swap, manifest));
  // A unit that nothing starts at boot ran all the same; finish wants every one of them, and waits for them.
  std::string wanted;
  bool any_held = false;
  for (const CarriedUnit& unit : manifest.units) {
    any_held |= !unit.held.empty();
    wanted += " " + unit.name;
    if (!exists(places.run + "/restoring/" + unit.name)) continue;
    auto text = restore_drop_in(unit, places.libexec);
    auto written =
        text ? write_drop_in(places, unit.name, kRestoreDropIn, *text) : Result<>(std::unexpected(text.error()));
    if (!written) complaints.push_back(unit.name + ": " + written.error().what);
  }
  if (any_held) TRY(start_hold(places));
  return write_drop_in(places, "kernel-swap-finish.service", "50-swap.conf",
                       fmt::format("[Unit]\nWants={0}\nAfter={0}\n", wanted));
}

}  // namespace

std::vector<std::string> generate(const Places& places) {
  std::vector<std::string> complaints;
  auto heed = [&](const Result<>& result) {
    if (!result) complaints.push_back(result.error().what);
  };
  SwapStore store(places.store);
  heed(raise_pid_floor(places, store));

  MarkedNames marked = find_marked(places.unit_directories);
  complaints.insert(complaints.end(), marked.errors.begin(), marked.errors.end());
  heed(order_marked(places, marked.names));

  auto swap = store.open_swap(places.boot_id);
  if (!swap) return complaints;
  if (restore_is_off(places.kernel_command_line))
    complaints.push_back("kernel_swap.restore=no: services start afresh");
  else
    heed(restore_pending(places, *swap, complaints));
  return complaints;
}

}  // namespace ks::upgrade
